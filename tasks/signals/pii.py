"""How much personal data a text holds, by kind: what ``tasks.pii`` finds and the corpus replaces."""

from __future__ import annotations

from tasks import pii
from tasks.signals.definition import Signal

_MEANING = {kind.name: kind.meaning for kind in pii.KINDS}
SIGNALS = tuple(Signal(f"pii_{name}_count", "pieces", _MEANING[name], "tasks/pii/kinds.py", 3) for name in pii.NAMES)

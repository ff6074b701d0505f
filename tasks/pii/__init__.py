"""Personal data and secrets in text: found by pattern and checksum, replaced by what kind they are."""

from tasks.pii.find import Found, counts, find, replaced
from tasks.pii.kinds import KINDS, NAMES, PLACEHOLDERS

__all__ = ["KINDS", "NAMES", "PLACEHOLDERS", "Found", "counts", "find", "replaced"]

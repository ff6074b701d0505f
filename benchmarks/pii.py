"""pii: how much of the personal data in labelled lines is found, and how much is found that is none, beside other systems."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import PROJECT, Row, write_results
from tasks import pii

LABELLED = PROJECT / "benchmarks" / "pii_set"
PEERS = ("presidio", "datatrove")
TEXT = (
    "Labelled lines of six kinds in 36 languages (`benchmarks/pii_set`, where their making is told), half of them without personal "
    "data and chosen to look as if they had some. A span is found where a system replaces it; what else it replaces in a line is "
    "found wrongly. *Looked at* is the half that rules were made with, *held back* the other. presidio runs its own recognizers "
    "without a language model (telephones of its default regions), datatrove its PIIFormatter, which knows e-mail and IP addresses."
)


class Line(NamedTuple):
    """A line and what of it is personal data."""

    kind: str
    text: str
    spans: tuple[str, ...]

    @property
    def held_back(self) -> bool:
        """Whether it is of the half that rules are judged on."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


class Redacted(NamedTuple):
    """A line after a system has been at it, and how many pieces of the line's kind it replaced."""

    text: str
    pieces: int


def labelled() -> list[Line]:
    """All lines of the set."""
    found = []
    for path in sorted(LABELLED.glob("*.jsonl*")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind = path.name.partition(".")[0]
        found += [
            Line(kind, row["text"], tuple(row["spans"])) for row in map(json.loads, content.decode().splitlines())
        ]
    return found


def by_gristmill(lines: Sequence[Line]) -> list[Redacted]:
    """Each line with placeholders for what is of its kind."""
    out = []
    for line in lines:
        (after,) = pii.replaced([line.text], {line.kind})
        placeholder = pii.PLACEHOLDERS[line.kind]
        out.append(Redacted(after, after.count(placeholder) - line.text.count(placeholder)))
    return out


def by_peer(system: str, lines: Sequence[Line]) -> list[Redacted]:
    """The same, by another system in an environment of its own."""
    python = PROJECT / ".peers" / system / "bin" / "python"
    given = "".join(json.dumps({"kind": line.kind, "text": line.text}) + "\n" for line in lines)
    done = subprocess.run(
        [python, PROJECT / "benchmarks" / "peers_pii.py", system],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Redacted(*json.loads(row)) for row in done.stdout.splitlines()]


def row_of(system: str, kind: str, lines: Sequence[Line], redacted: Sequence[Redacted], seconds: float) -> Row:
    """Precision and recall of a kind, of all lines and of each half."""
    row: Row = {"system": system, "kind": kind, "documents": len(lines), "seconds": seconds}
    halves = {"all": (True, False), "looked at": (False,), "held back": (True,)}
    for half, wanted in halves.items():
        hits = misses = false = 0
        for line, after in zip(lines, redacted, strict=True):
            if line.held_back in wanted:
                found = sum(span not in after.text for span in line.spans)
                hits, misses = hits + found, misses + len(line.spans) - found
                false += max(0, after.pieces - found)
        row[half] = (hits / max(1, hits + false), hits / max(1, hits + misses))
    return row


def main() -> None:
    """All systems over all kinds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="systems beside gristmill")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    peers = [peer for peer in arguments.peers.split(",") if peer]
    for peer in peers:
        if not (PROJECT / ".peers" / peer).exists():
            sys.exit(f"{peer} is not there: make peers installs it, --peers '' goes without")
    lines, rows = labelled(), []
    by_gristmill(lines[:1])  # compiles
    for kind in pii.NAMES:
        of_kind = [line for line in lines if line.kind == kind]
        for system in ("gristmill", *peers):
            started = time.perf_counter()
            redacted = by_gristmill(of_kind) if system == "gristmill" else by_peer(system, of_kind)
            if any(after.pieces for after in redacted):  # else it does not know the kind
                rows.append(row_of(system, kind, of_kind, redacted, time.perf_counter() - started))
    columns = {"kind": "kind"} | {
        f"{name} P / R": (lambda row, name=name: f"{row[name][0]:.3f} / {row[name][1]:.3f}")
        for name in ("all", "looked at", "held back")
    }
    write_results(
        "pii", "Personal data", TEXT, rows, columns, arguments.json, {"system": "system", "lines": "documents"}
    )


if __name__ == "__main__":
    main()

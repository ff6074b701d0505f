"""signals: Gopher's, C4's and FineWeb's beside datatrove's filters, how both judge, growth, and a policy over a million documents."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import DATA, PROJECT, Row, measure, side_by_side, write_results

DATATROVE = PROJECT / ".peers" / "datatrove" / "bin" / "python"
TIMED, GROWN, PART = 300, (1, 4, 16), 2_500
LEAST_SECONDS = 3.0
# datatrove's filter -> the policy whose rules are the same, and how their signals begin.
SAME = {
    "gopher_repetition": ("gopher", ("gopher_duplicate", "gopher_top")),
    "gopher_quality": ("gopher", ("gopher_",)),
    "c4": ("c4", ("c4_",)),
    "c4_loose": ("fineweb", ("c4_loose",)),
    "fineweb": ("fineweb", ("fineweb_",)),
}
TEXT = (
    "The first rows: all signals of a text that Gopher, C4 and FineWeb ask for (and RefinedWeb's and RedPajama's with them), "
    "beside datatrove's five filters for the same rules, over {timed} documents of {mean:,} bytes in the mean, one process each. "
    "`x 1`, `x 4`, `x 16`: the same documents that many times over, in parts of {part:,}: time a document and memory do not grow. "
    "The last row decides another policy for a million documents, whose signals are stored, and compares it with the present one.\n\n"
    "**Verdicts** on {judged:,} documents (books, main texts of pages, whole pages with all that stands around them, licences). "
    "datatrove takes spaCy's tokens for words, punctuation among them; words are white-space separated here. The right half gives "
    "datatrove that definition of a word, and nothing else. What is left there:\n\n{left}\n\n{agreement}"
)
REASONS = {
    "gopher_quality": "a line that begins with any of • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ – - * has a bullet; datatrove knows • and -, and counts words "
    "without those that are punctuation alone; blank lines are no lines",
    "gopher_repetition": "lines are compared without the white space around them; the most frequent n-gram must occur twice",
    "c4": "sentences end by a rule of punctuation, not by spaCy's",
    "c4_loose": "sentences end by a rule of punctuation, not by spaCy's",
    "fineweb": "lines are compared and end without the white space around them; repeated lines are a share of the whole text; "
    "in FineWeb this filter saw the text that C4's had left, here and in this comparison all see the same text",
}


def texts_of(path: Path, count: int) -> list[str]:
    """The first texts of a file of JSON lines."""
    with path.open() as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


def run_once(path: Path, count: int) -> Row:
    """Every text signal of so many documents, again and again."""
    from tasks.signals.measure import measured

    texts = pa.array(texts_of(path, count))
    measured(texts.slice(0, 5))  # compiles
    passes, started, clock = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < LEAST_SECONDS:
        measured(texts)
        passes += 1
    return {
        "version": "0.1",
        "documents": count,
        "bytes": int(pa.compute.sum(pa.compute.binary_length(texts)).as_py()),
        "seconds": (time.perf_counter() - started) / passes,
        "cpu_seconds": (time.process_time() - clock) / passes,
    }


def run_grown(path: Path, times: int) -> Row:
    """All documents, several times over, a part at a time."""
    from tasks.signals.measure import measured

    measured(pa.array(["Compiles."]))
    documents, size, seconds = 0, 0, 0.0
    for _ in range(times):
        with path.open() as lines:
            while part := [json.loads(line) for _, line in zip(range(PART), lines, strict=False)]:
                texts = pa.array(part)
                started = time.perf_counter()
                measured(texts)
                seconds += time.perf_counter() - started
                documents, size = documents + len(part), size + sum(len(text.encode()) for text in part)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "version": f"x {times}",
        "documents": documents,
        "bytes": size,
        "seconds": seconds,
        "cpu_seconds": seconds,
        "peak_rss_bytes": used.ru_maxrss * 1024,
    }


def run_policy(path: Path) -> Row:
    """Another policy over a million stored documents, tiled of the first thousand texts."""
    from benchmarks.policies import decide_a_million

    return decide_a_million(texts_of(path, 1_000))


def judged(path: Path, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """datatrove's filter -> which documents this project's rules for it remove."""
    from tasks.select import policy
    from tasks.select.policy import Policy, passing
    from tasks.signals.measure import measured

    found = measured(pa.array(texts_of(path, count)))
    table = pa.table({"doc_id": [str(n) for n in range(count)], **found})
    verdicts, taken = {}, set()
    for name, (policy_name, begins) in SAME.items():
        rules = [
            rule
            for rule in policy.load(policy_name).rules
            if rule.signal.startswith(begins) and (policy_name, rule.signal) not in taken
        ]
        taken |= {(policy_name, rule.signal) for rule in rules}
        verdicts[name] = ~passing(Policy(rules=tuple(rules)).checks(table, 1, {}), count)
    return verdicts


def agreement(path: Path, count: int, folder: Path) -> tuple[str, str]:
    """The table of verdicts beside datatrove's, with its own words and with ours; and what is left of differences."""
    ours = judged(path, count)
    theirs = {}
    for words in ("own", "plain"):
        file = folder / f"datatrove-{words}.json"
        if not file.exists():
            measure(
                [
                    str(DATATROVE),
                    str(PROJECT / "benchmarks" / "oracle_datatrove.py"),
                    str(path),
                    "--words",
                    words,
                    "--verdicts",
                    str(file),
                ]
            )
        theirs[words] = json.loads(file.read_text())
    lines = [
        "| filter | removed here | by datatrove | other verdict | by datatrove, our words | other verdict |",
        "|---|---|---|---|---|---|",
    ]
    left = []
    for name, removed in ours.items():
        cells = [f"{removed.sum():,}"]
        for words in ("own", "plain"):
            other = np.array([bool(verdict) for verdict in theirs[words][name][:count]])
            cells += [f"{other.sum():,}", f"{(other != removed).sum():,}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        if (other != removed).any():
            rules = Counter(
                theirs["plain"][name][row] or "kept by datatrove" for row in np.nonzero(other != removed)[0]
            )
            left.append(f"- {name}: {', '.join(f'{rule} {n}' for rule, n in rules.most_common())}: {REASONS[name]}.")
    return "\n".join(lines), "\n".join(left) or "Nothing."


def main() -> None:
    """Runs one system where asked to, else all of them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real data, or a file of JSON lines of texts")
    parser.add_argument("--peers", default="datatrove", help="systems beside gristmill")
    parser.add_argument("--documents", type=int, default=10_000, help="documents that verdicts are compared on")
    parser.add_argument(
        "--verdicts", type=Path, help="folder to keep datatrove's verdicts in, and to find them: they take half an hour"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, path, number = arguments.one
        runs = {
            "once": partial(run_once, Path(path), int(number)),
            "grown": partial(run_grown, Path(path), int(number)),
            "policy": partial(run_policy, Path(path)),
        }
        print(json.dumps(runs[what]()))
        return
    compare_all(arguments)


def compare_all(arguments: argparse.Namespace) -> None:
    """Speed beside datatrove, verdicts beside datatrove, growth, and a policy."""
    if "datatrove" in arguments.peers and not DATATROVE.exists():
        sys.exit("datatrove is not there: make peers installs it, --peers '' goes without")
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.data
        if path.is_dir():
            from benchmarks.corpora import documents

            path = Path(scratch) / "texts.jsonl"
            path.write_text("".join(json.dumps(text) + "\n" for text in documents(arguments.data, arguments.documents)))
        timed = Path(scratch) / "timed.jsonl"
        timed.write_text("".join(json.dumps(text) + "\n" for text in texts_of(path, TIMED)))
        ours = [sys.executable, "-m", "benchmarks.signals", "--one"]
        systems = {"gristmill": partial(measure, [*ours, "once", str(timed), str(TIMED)])}
        if "datatrove" in arguments.peers:
            systems["datatrove"] = partial(measure, [str(DATATROVE), "benchmarks/oracle_datatrove.py", str(timed)])
        rows = side_by_side(systems, arguments.repeats)
        rows += [{"system": "gristmill"} | measure([*ours, "grown", str(path), str(times)]) for times in GROWN]
        rows.append({"system": "gristmill"} | measure([*ours, "policy", str(path), "0"]))
        table, left = "", ""
        if "datatrove" in arguments.peers:
            table, left = agreement(path, arguments.documents, arguments.verdicts or Path(scratch))
    text = TEXT.format(
        timed=TIMED, mean=rows[0]["bytes"] // TIMED, part=PART, judged=arguments.documents, left=left, agreement=table
    )
    write_results("signals", "Signals and policies", text, rows, {}, arguments.json)


if __name__ == "__main__":
    main()

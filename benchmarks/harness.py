"""Timing systems side by side: every run a process of its own, runs interleaved, medians taken, one table written."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"
DOCUMENT = PROJECT / "docs" / "benchmarks.md"
Row = dict[str, Any]
COLUMNS = {
    "system": "system",
    "version": "version",
    "documents": "documents",
    "seconds": "seconds",
    "documents a second": lambda row: f"{row['documents'] / row['seconds']:,.1f}",
    "MB a second": lambda row: f"{row['bytes'] / row['seconds'] / 1e6:,.2f}",
    "processor seconds": "cpu_seconds",
    "peak memory, MB": lambda row: f"{row['peak_rss_bytes'] / 1e6:,.0f}",
}


def measure(command: Sequence[str], given: str = "") -> Row:
    """Runs a process that is given a text and prints a JSON object as its last line; adds what it cost, its finished children included.

    Raises RuntimeError where it fails.
    """
    started = time.perf_counter()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(given)
        process.stdin.close()
        output, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors[-2000:]}")
    cost = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * 1024,
    }
    printed: Row = json.loads(output.strip().splitlines()[-1])
    return cost | printed


def side_by_side(systems: Mapping[str, Callable[[], Row]], repeats: int) -> list[Row]:
    """Runs every system in turn, ``repeats`` times over, and takes for each the run of median seconds."""
    runs: dict[str, list[Row]] = {name: [] for name in systems}
    for number in range(repeats):
        for name, run in systems.items():
            row = {"system": name} | run()
            runs[name].append(row)
            print(f"{number + 1}/{repeats} {name}: {row['documents']:,} in {row['seconds']:.2f} s", file=sys.stderr)
    return [
        min(rows, key=lambda row: abs(row["seconds"] - median(r["seconds"] for r in rows))) for rows in runs.values()
    ]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    names = (
        re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) if platform.system() == "Linux" else []
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def write_results(
    name: str,
    title: str,
    text: str,
    rows: list[Row],
    extra: dict[str, Any],
    json_file: Path | None,
    common: dict[str, Any] | None = None,
) -> None:
    """Prints the table, writes it into its section of ``docs/benchmarks.md``, and all of it as JSON where wanted."""
    columns = (COLUMNS if common is None else common) | extra
    values = [[_cell(row, column) for column in columns.values()] for row in rows]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns), *(" | ".join(cells) for cells in values)]
    table = "\n".join(f"| {line} |" for line in lines)
    print(table)
    where = machine()
    stamp = f"{where['at']}, {where['cores']} cores of {where['processor']}, Python {where['python']}"
    section = f"## {title}\n\n{text}\n\n{table}\n\n{stamp}. `python -m benchmarks.{name}`\n"
    _replace_section(name, section)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": where, "rows": rows}, indent=1))


def _cell(row: Row, column: Any) -> str:
    value = column(row) if callable(column) else row.get(column, "")
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _replace_section(name: str, section: str) -> None:
    head = "# Benchmarks\n\nWritten by the commands named below each table; the machine is shared, so gaps under 15 % are noise.\n"
    text = DOCUMENT.read_text() if DOCUMENT.exists() else head
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if begin in text:
        before, _, rest = text.partition(begin)
        text = before + begin + section + end + rest.partition(end)[2]
    else:
        text += "\n" + begin + section + end
    DOCUMENT.write_text(text)

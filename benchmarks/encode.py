"""encode: texts to GPT-2's tokens, beside tiktoken and tokenizers, on one core."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.corpora import documents
from benchmarks.harness import DATA, PROJECT, Row, measure, side_by_side, write_results
from benchmarks.peers_encode import peak

PEERS = PROJECT / ".peers" / "encode" / "bin" / "python"
SYSTEMS = ("tiktoken", "tokenizers")
COUNT, LEAST_SECONDS = 4_000, 3.0
TEXT = (
    "{count:,} texts (books in sections, main texts of pages, whole pages, licences; {mean:,} bytes in the mean) with GPT-2's published "
    "vocabulary, each system in a process of its own on one core, from strings in memory to tokens. All gave {tokens:,} tokens. `gristmill` "
    "is what `pack` runs, its conversion of the texts to bytes included, without the comparison with `tokenizers` on a sample of each part."
)


def run_once(path: Path, vocabulary: Path, merges: Path) -> Row:
    """All texts, again and again."""
    from tokenizers import ByteLevelBPETokenizer

    from tasks.tokens.encode import Encoder

    encode = Encoder(ByteLevelBPETokenizer(str(vocabulary), str(merges))._tokenizer)
    texts = json.loads(path.read_text())
    encode(texts[:8])  # compiles
    tokens, passes, started, clock = 0, 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < LEAST_SECONDS:
        tokens = sum(len(found) for found in encode(texts) if found is not None)
        passes += 1
    seconds = (time.perf_counter() - started) / passes
    cost = {"seconds": seconds, "cpu_seconds": (time.process_time() - clock) / passes, "peak_rss_bytes": peak()}
    return {"version": "0.1", "documents": len(texts), "tokens": tokens} | cost


def main() -> None:
    """Runs this project's encoder where asked to, else all side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    (folder,) = (arguments.data / "bpe").rglob("gpt2")
    files = (folder / "encoder.json", folder / "vocab.bpe")
    if arguments.one:
        print(json.dumps(run_once(arguments.one, *files)))
        return
    texts = documents(arguments.data, COUNT)
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "texts.json"
        path.write_text(json.dumps(texts))
        names = tuple(map(str, (path, *files)))
        commands = {"gristmill": [sys.executable, "-m", "benchmarks.encode", "--one", names[0]]}
        commands |= {name: [str(PEERS), "benchmarks/peers_encode.py", name, *names] for name in SYSTEMS}
        measure(commands["gristmill"])  # compiles
        systems = {
            name: partial(lambda command: measure(command) | {"bytes": size}, command)
            for name, command in commands.items()
        }
        rows = side_by_side(systems, arguments.repeats)
    (tokens,) = {row["tokens"] for row in rows}  # all the same, or this is no comparison
    text = TEXT.format(count=len(texts), mean=size // len(texts), tokens=tokens)
    write_results("encode", "Encoding", text, rows, {}, arguments.json)


if __name__ == "__main__":
    main()

"""path: from archived pages to tokens, the whole way, beside datatrove's."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.harness import DATA, PROJECT, Row, measure, side_by_side, write_results
from benchmarks.pages import sets_of
from tasks.core.somewhere import make_part_somewhere
from tasks.core.stage import Report, Stage

DATATROVE = PROJECT / ".peers" / "datatrove" / "bin" / "python"
FILES, WORKERS, VOCABULARY, TRAIN_BYTES = 8, 2, 4096, 2_000_000
RECIPE = """
name = "path"
store = "{store}"
workers = {workers}
[sources.web]
policy = "gopher"
[sources.web.warc]
files = ["{folder}/*.warc.gz"]
[tokenizer]
vocabulary = {vocabulary}
train_bytes = {train_bytes}
"""
TEXT = (
    "{pages:,} real pages ({mean:,} bytes of HTML in the mean) in {files} WARC files, two worker processes, from the first byte of an "
    "archive to the last of the token arrays. datatrove: WARC, trafilatura (precision), Gopher's filters, the four MinHash stages, "
    "GPT-2 tokens. gristmill: the stages {stages} of a recipe with the policy `gopher`, "
    "all signals and the training of a tokenizer on 2 MB included, all stored, digests taken. Processes start within the time that is "
    "taken; compiled code was compiled before. gristmill kept {ours:,} documents, datatrove {theirs}."
)


def stages() -> tuple[str, ...]:
    """What such a recipe has, from archives to tokens."""
    from flows.graph import made_from

    return made_from("pack", beside=("crawl", "quality", "overlap", "decontaminate"))


class Workers:
    """Parts on threads over worker processes."""

    def __call__(self, parts: Sequence[tuple[Stage, str]], report: Report) -> None:
        with ThreadPoolExecutor(WORKERS) as threads:
            for future in [threads.submit(make_part_somewhere, stage, part, report, WORKERS) for stage, part in parts]:
                future.result()


def run_once(folder: Path) -> Row:
    """The recipe over the archives of a folder, into a new store."""
    from flows.making import Pipeline
    from flows.recipe.loading import load_recipe

    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch) / "path.toml"
        recipe.write_text(
            RECIPE.format(
                store=f"{scratch}/store", workers=WORKERS, folder=folder, vocabulary=VOCABULARY, train_bytes=TRAIN_BYTES
            )
        )
        started = time.perf_counter()
        pipeline = Pipeline(load_recipe(str(recipe)), Workers())
        spent = {}
        for name in stages():
            begun = time.perf_counter()
            (made,) = pipeline.make(name)
            spent[name] = round(time.perf_counter() - begun, 2)
        return {"version": "0.1", "seconds": time.perf_counter() - started, "kept": made.counts.kept, "stages": spent}


def pages_of(data: Path) -> Iterator[str]:
    """The HTML of all sets of pages and sites."""
    for found in sets_of(data / "html").values():
        yield from (page.html for page in found)
    with tempfile.TemporaryDirectory() as folder:
        for archive in sorted((data / "html").glob("site-*.tar.*")):
            subprocess.run(["tar", "xf", archive, "-C", folder], check=True)  # noqa: S607
        for path in sorted(Path(folder).rglob("*.html")):
            yield path.read_text(errors="replace")


def write_archives(pages: list[str], folder: Path) -> int:
    """Deals pages to WARC files; returns the bytes of their HTML."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    folder.mkdir()
    size = 0
    for number in range(FILES):
        with (folder / f"{number:02d}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for place, html in list(enumerate(pages))[number::FILES]:
                body = html.encode("utf-8", "replace")
                size += len(body)
                headers = StatusAndHeaders(
                    "200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1"
                )
                # As Common Crawl's records have it: datatrove leaves out most pages whose type it has to guess.
                kind = {"WARC-Identified-Payload-Type": "text/html"}
                record = writer.create_warc_record(
                    f"http://site.example/{place}",
                    "response",
                    payload=io.BytesIO(body),
                    http_headers=headers,
                    warc_headers_dict=kind,
                )
                writer.write_record(record)
    return size


def gpt2_tokenizer(data: Path, path: Path) -> None:
    """GPT-2's tokenizer in the form that datatrove reads."""
    from tokenizers import ByteLevelBPETokenizer

    (vocabulary,), (merges,) = (list((data / "bpe").rglob(f"gpt2/{name}")) for name in ("encoder.json", "vocab.bpe"))
    tokenizer = ByteLevelBPETokenizer(str(vocabulary), str(merges))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))


def main() -> None:
    """Runs one system where asked to, else both side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peers", default="datatrove")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_once(arguments.one)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, pages = Path(scratch) / "archives", list(pages_of(arguments.data))
        size = write_archives(pages, folder)
        ours = [sys.executable, "-m", "benchmarks.path", "--one", str(folder)]
        measure(ours)  # compiles
        counted = {"documents": len(pages), "bytes": size}
        systems = {"gristmill": lambda: measure(ours) | counted}
        if "datatrove" in arguments.peers:
            tokenizer = Path(scratch) / "tokenizer.json"
            gpt2_tokenizer(arguments.data, tokenizer)
            theirs = [
                str(DATATROVE),
                "benchmarks/peers_datatrove.py",
                "path",
                str(folder),
                str(WORKERS),
                str(tokenizer),
            ]
            systems["datatrove"] = partial(lambda command: measure(command) | counted, theirs)
        rows = side_by_side(systems, arguments.repeats)
    kept = {row["system"]: row["kept"] for row in rows}
    print(rows[0]["stages"], file=sys.stderr)
    text = TEXT.format(
        pages=len(pages),
        mean=size // len(pages),
        files=FILES,
        stages=", ".join(stages()),
        ours=kept["gristmill"],
        theirs=f"{kept.get('datatrove', 0):,}",
    )
    write_results("path", "From archive to tokens", text, rows, {}, arguments.json)


if __name__ == "__main__":
    main()

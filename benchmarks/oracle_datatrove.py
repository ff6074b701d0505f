"""Runs datatrove's own filters over JSON lines of texts, in an environment that has datatrove. Imports nothing of this project.

Prints one JSON object: seconds, processor seconds, version, and where asked the verdicts. With ``--words plain`` its
splitter of words is replaced by white space, which is the definition that this project documents.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", type=Path)
    parser.add_argument("--words", choices=("own", "plain"), default="own")
    parser.add_argument("--verdicts", type=Path)
    arguments = parser.parse_args()

    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    if arguments.words == "plain":
        for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
            module.split_into_words = _plain_words
    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(),
        "c4_loose": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }
    texts = [json.loads(line) for line in arguments.texts.open()]
    for one in filters.values():  # loads tokenizers
        one.filter(Document(text="A first text. It has two sentences.", id="0"))
    verdicts = {}
    started = time.perf_counter()
    for name, one in filters.items():
        verdicts[name] = [_verdict(one.filter(Document(text=text, id=str(n)))) for n, text in enumerate(texts)]
    seconds = time.perf_counter() - started
    if arguments.verdicts:
        arguments.verdicts.write_text(json.dumps(verdicts))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "version": version("datatrove"),
                "documents": len(texts),
                "bytes": sum(len(text.encode()) for text in texts),
                "seconds": seconds,
                "cpu_seconds": used.ru_utime + used.ru_stime,
            }
        )
    )


def _plain_words(text: str, language: str = "en") -> list[str]:
    """Words as runs without white space."""
    return text.split()


def _verdict(answer: object) -> str:
    """Why a text goes, or an empty string."""
    return "" if answer is True else str(answer[1]) if isinstance(answer, tuple) else "removed"


if __name__ == "__main__":
    main()

"""Encoding by other libraries with GPT-2's published vocabulary, as a process of its own: no import of this project.

python benchmarks/peers_encode.py SYSTEM TEXTS.json VOCABULARY MERGES: prints what it took, and how many tokens there were.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

LEAST_SECONDS = 3.0


def peak() -> int:
    """Peak resident bytes since this program began; what ``getrusage`` tells includes the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def by_tiktoken(vocabulary: str, merges: str) -> Callable[[list[str]], int]:
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import r50k_pat_str

    ranks = data_gym_to_mergeable_bpe_ranks(merges, vocabulary)
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
    )
    return lambda texts: sum(len(encoding.encode_ordinary(text)) for text in texts)


def by_tokenizers(vocabulary: str, merges: str) -> Callable[[list[str]], int]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(vocabulary, merges)
    return lambda texts: sum(len(found.ids) for found in tokenizer._tokenizer.encode_batch_fast(texts))


SYSTEMS = {"tiktoken": by_tiktoken, "tokenizers": by_tokenizers}


def main() -> None:
    """Encodes all texts, again and again for some seconds."""
    system, path, vocabulary, merges = sys.argv[1:]
    texts = json.loads(Path(path).read_text())
    encode = SYSTEMS[system](vocabulary, merges)
    tokens = encode(texts[:8])
    passes, started, clock = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < LEAST_SECONDS:
        tokens = encode(texts)
        passes += 1
    seconds = (time.perf_counter() - started) / passes
    cost = {"seconds": seconds, "cpu_seconds": (time.process_time() - clock) / passes, "peak_rss_bytes": peak()}
    print(json.dumps({"version": version(system), "documents": len(texts), "tokens": tokens} | cost))


if __name__ == "__main__":
    main()

"""Randomness as a function: a draw depends on a seed, a purpose and a subject, never on what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def uniform(seed: int, purpose: str, subjects: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each subject, with 53 random bits."""
    begin = hashlib.sha256(f"{purpose}:{seed}:".encode())

    def bits(subject: str) -> int:
        digest = begin.copy()
        digest.update(subject.encode())
        return int.from_bytes(digest.digest()[:8], "big") >> 11

    return np.fromiter(map(bits, subjects), np.float64) / 2.0**53

"""Randomness as a function: a draw depends on a seed, a purpose and a subject, never on what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def random_bits(seed: int, purpose: str, *subject: object) -> int:
    """64 random bits."""
    return int.from_bytes(hashlib.sha256(repr((seed, purpose, *subject)).encode()).digest()[:8], "little")


def uniform(seed: int, purpose: str, subjects: Iterable[str]) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each subject, with 53 random bits."""
    return np.fromiter((random_bits(seed, purpose, subject) >> 11 for subject in subjects), np.float64) / 2.0**53

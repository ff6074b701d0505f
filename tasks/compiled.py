"""Functions compiled to machine code by numba, kept between runs.

numba's own cache asks only whether the file of a function changed, not those that it calls into. So the cache lies
in a folder named by a digest of all of this package's sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

KEPT_DAYS = 30  # that the folder of other sources is kept after its last use
Function = TypeVar("Function", bound=Callable[..., Any])


def _cache_folder() -> Path:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "gristmill" / f"compiled-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for other in folder.parent.glob("compiled-*"):
            if other.stat().st_mtime < time.time() - KEPT_DAYS * 86_400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="gristmill-compiled-"))
    return folder


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(_cache_folder())


def compiled(function: Function) -> Function:
    """Compiles a function of arrays when it is first called, without Python's lock while it runs."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))

"""Functions compiled to machine code by numba, kept between runs.

numba's own cache asks only whether the file of a function changed, not those that it calls into. So the cache lies
in a folder named by a digest of the sources that hold compiled functions, and of what these import.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from warehouse.store import user_cache

IMPORTED = re.compile(r"^\s*from (tasks[\w.]*) import", re.M)
KEPT_DAYS = 30  # that the folder of other sources is kept after its last use
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@cache
def cache_folder() -> Path:
    """Where lies what these sources once computed and will ask for again."""
    digest = hashlib.sha256(version("numba").encode())
    for path, source in sorted(_compiled_sources().items()):
        digest.update(f"{path}\0{source}\0".encode())
    folder = user_cache(f"compiled-{digest.hexdigest()[:16]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for other in folder.parent.glob("compiled-*"):
            if other.stat().st_mtime < time.time() - KEPT_DAYS * 86_400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="gristmill-compiled-"))
    return folder


def _compiled_sources() -> dict[str, str]:
    """Name -> text of every module with a compiled function, and of all that it imports from this package."""
    root = Path(__file__).parents[1]
    sources = {
        f"tasks.{'.'.join(path.relative_to(root).with_suffix('').parts)}": path.read_text()
        for path in root.rglob("*.py")
    }
    found: dict[str, str] = {}
    waiting = [name for name, text in sources.items() if "@compiled" in text]
    while waiting:
        name = waiting.pop()
        if name in sources and name not in found:
            found[name] = sources[name]
            waiting += IMPORTED.findall(sources[name])
    return found


def kept(name: str, make: Callable[[], npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
    """Numbers that an earlier process made, or made now and kept for those to come, with a checksum."""
    path = cache_folder() / f"{name}.u32"
    with contextlib.suppress(OSError, ValueError):
        *numbers, check = np.fromfile(path, np.uint32)
        if zlib.crc32((made := np.array(numbers, np.uint32)).tobytes()) == check:
            return made
    made = make()
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(f".{os.getpid()}")
        np.append(made, np.uint32(zlib.crc32(made.tobytes()))).tofile(temporary)
        temporary.replace(path)
    return made


class Compiled(Generic[Parameters, Result]):
    """A function that numba compiles when it is first called: a command that computes nothing does not wait for numba."""

    def __init__(self, function: Callable[Parameters, Result]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __call__(self, *arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        result: Result = self.dispatcher(*arguments, **named)
        return result

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's own object for the function."""
        return _numba().njit(cache=True, nogil=True)(self._function)


@cache
def _numba() -> ModuleType:
    """numba, told where to keep what it compiles, and what a Compiled is where another function calls it."""
    import numba
    from numba.extending import typeof_impl

    if not os.environ.get("NUMBA_CACHE_DIR"):
        numba.config.CACHE_DIR = str(cache_folder())

    def type_of(function: Compiled[..., Any], context: Any) -> Any:
        return typeof_impl(function.dispatcher, context)

    typeof_impl.register(Compiled)(type_of)
    module: ModuleType = numba
    return module


def compiled(function: Callable[Parameters, Result]) -> Compiled[Parameters, Result]:
    """Compiles a function of arrays when it is first called, without Python's lock while it runs."""
    return Compiled(function)

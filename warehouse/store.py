"""The commit protocol: how bytes become durable, on a local folder or any fsspec URL.

On a local folder a file is written under a temporary name beside its final one, flushed, fsynced and
renamed, and the folder is fsynced: after a kill at any instant the final name holds all of the bytes or
does not exist. An object store's PUT has the same property, so there the file is made in a local
temporary folder and uploaded whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import fsspec

from warehouse.errors import StoreError

TEMPORARY_PREFIX = ".tmp-"


class Store:
    """A tree of immutable files addressed by relative POSIX paths below a URL."""

    def __init__(self, url: str) -> None:
        self.url = url if "://" in url else str(Path(url).expanduser().absolute())
        self.is_local = "://" not in self.url or self.url.startswith("file://")
        self._root = Path(self.url.removeprefix("file://")) if self.is_local else None
        self._opened: tuple[int, fsspec.AbstractFileSystem] | None = None

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.url,)

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system behind a remote store; a process that was forked from another opens its own."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), fsspec.core.url_to_fs(self.url)[0]
            except (ValueError, ImportError) as error:
                raise StoreError(
                    f"the store {self.url} cannot be opened ({error}): name another with --set store=URL"
                ) from error
        return self._opened[1]

    @cached_property
    def scratch_root(self) -> Path:
        """A local folder for state that only a running stage needs (frontiers, sockets, downloads)."""
        if self._root is not None:
            return self._root / "scratch"
        return user_cache(hashlib.sha256(self.url.encode()).hexdigest()[:16])

    def scratch(self, *names: str) -> Path:
        """A local working folder, made on demand; never part of an artifact."""
        folder = self.scratch_root.joinpath(*names)
        with _clear_errors(self.url):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def address(self, path: str) -> str:
        """The full address of a path: what DuckDB or pyarrow open. Raises StoreError for one that leads out of the store."""
        return str(self._at(path)) if self._root is not None else f"{self.url.rstrip('/')}/{_inside(path)}"

    def _at(self, path: str) -> Path:
        """The local file of a path. Raises StoreError for one that leads out of the store."""
        assert self._root is not None
        return self._root / _inside(path)

    def exists(self, path: str) -> bool:
        """Whether a file of that name was committed."""
        if self._root is not None:
            return self._at(path).is_file()
        with _clear_errors(self.url):
            return bool(self.filesystem.isfile(self.address(path)))

    def size(self, path: str) -> int:
        """Bytes of a file, -1 where it is missing."""
        with _clear_errors(self.url):
            try:
                if self._root is not None:
                    return self._at(path).stat().st_size
                return int(self.filesystem.size(self.address(path)))
            except FileNotFoundError:
                return -1

    def names(self, folder: str) -> list[str]:
        """The sorted names of files and folders directly in a folder, temporary ones left out."""
        with _clear_errors(self.url):
            try:
                if self._root is not None:
                    found = os.listdir(self._at(folder))
                else:
                    self.filesystem.invalidate_cache()
                    found = [
                        e.rstrip("/").rsplit("/", 1)[-1] for e in self.filesystem.ls(self.address(folder), detail=False)
                    ]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in found if name and not name.startswith("."))

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file. Raises FileNotFoundError."""
        with _clear_errors(self.url):
            if self._root is not None:
                return self._at(path).read_bytes()
            return bytes(self.filesystem.cat_file(self.address(path)))

    def local_copy(self, path: str, sha256: str = "") -> Path:
        """A local file with the content of ``path``: the file itself, or a cached download of a remote one.

        ``sha256`` names the cached copy; without it the file is fetched anew each time.
        """
        if self._root is not None:
            return self._at(path)
        cached = self.scratch("downloads") / f"{sha256 or hashlib.sha256(path.encode()).hexdigest()}{Path(path).suffix}"
        if not sha256 or not cached.exists():  # without a digest the name may have new content
            temporary = cached.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
            with _clear_errors(self.url):
                self.filesystem.get_file(self.address(path), str(temporary))
            os.replace(temporary, cached)
        return cached

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """Yields a temporary local file; when the block ends without an error its bytes are committed as ``path``."""
        with _clear_errors(self.url):
            if self._root is not None:
                target = self._at(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.parent / _temporary_name(target.name)
            else:
                temporary = Path(tempfile.mkdtemp(prefix="gristmill-")) / Path(path).name
            try:
                yield temporary
                _fsync(temporary)
                if self._root is not None:
                    os.replace(temporary, target)
                    _fsync(target.parent)
                else:
                    self.filesystem.put_file(str(temporary), self.address(path))
            finally:
                if self._root is not None:
                    temporary.unlink(missing_ok=True)
                else:
                    shutil.rmtree(temporary.parent, ignore_errors=True)

    def adopt(self, path: str, local: Path) -> None:
        """Commits a finished file of the scratch folder as ``path``, without a copy where the store is local."""
        with _clear_errors(self.url):
            _fsync(local)
            if self._root is not None:
                target = self._at(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(local, target)
                _fsync(target.parent)
            else:
                self.filesystem.put_file(str(local), self.address(path))
                local.unlink()

    def copy(self, path: str, to: str) -> None:
        """Commits the file ``path`` under another name too. Files never change, so a local one is linked, not copied."""
        with _clear_errors(self.url):
            if self._root is None:
                self.filesystem.copy(self.address(path), self.address(to))
                return
            target = self._at(to)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / _temporary_name(target.name)
            try:
                os.link(self._at(path), temporary)
            except OSError:  # a file system without links
                shutil.copyfile(self._at(path), temporary)
                _fsync(temporary)
            os.replace(temporary, target)
            temporary.unlink(missing_ok=True)  # stays where both were links to one file
            _fsync(target.parent)

    def write_bytes(self, path: str, content: bytes) -> None:
        """Commits a small file."""
        with self.writing(path) as temporary:
            temporary.write_bytes(content)

    def delete(self, path: str) -> None:
        """Removes a file; a missing one is no error."""
        with _clear_errors(self.url), contextlib.suppress(FileNotFoundError):
            if self._root is not None:
                self._at(path).unlink()
            else:
                self.filesystem.rm_file(self.address(path))

    def sweep(self, folder: str) -> None:
        """Deletes temporary files that dead processes of this machine left below a folder."""
        if self._root is None:
            return
        for orphan in self._at(folder).rglob(f"{TEMPORARY_PREFIX}*"):
            if _writer_is_dead(orphan.name):
                orphan.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, *names: str) -> Iterator[None]:
        """Holds a lock on a name among processes of this machine; a killed holder's lock is free at once."""
        with open(self.scratch("locks") / "-".join(names), "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def check_writable(self) -> None:
        """Raises StoreError where nothing can be written."""
        probe = f"scratch/{_temporary_name('probe')}" if self.is_local else f"probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"x")
            self.delete(probe)
        except StoreError:
            raise
        except Exception as error:  # a file system's own: no credentials, no such bucket, no network
            raise StoreError(
                f"the store {self.url} cannot be written ({error}): name another with --set store=URL"
            ) from error


def user_cache(*names: str) -> Path:
    """A place below the user's own folder for what can be made again, and for what is executed: never in a store."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.joinpath("gristmill", *names)


def is_inside(path: str) -> bool:
    """Whether a path, of a manifest say, names something below the folder that it is relative to, and plainly."""
    pieces = path.split("/")
    return not any(piece in ("", ".", "..") for piece in pieces) and not any(c in path for c in "\\\0\n\r")


def _inside(path: str) -> str:
    if not is_inside(path.rstrip("/")):
        raise StoreError(f"{path!r} leads out of the store: what names it was not written by gristmill")
    return path


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a local file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _temporary_name(name: str) -> str:
    return f"{TEMPORARY_PREFIX}{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:8]}~{name}"


def _writer_is_dead(temporary_name: str) -> bool:
    host, pid = (*temporary_name.removeprefix(TEMPORARY_PREFIX).split("~"), "")[:2]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Turns the operating system's refusals into sentences that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(
                f"no space is left for the store {url}: free some and run the same command again"
            ) from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise StoreError(
                f"the store {url} cannot be written: give this user the right to write there, "
                "or name another with --set store=URL"
            ) from error
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise StoreError(f"the store {url} is not a folder: name another with --set store=URL") from error
        raise

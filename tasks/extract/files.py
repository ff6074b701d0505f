"""Files that the mill did not make: found by paths, globs, URLs and lists of them, known by their content."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec
from backports import zstd
from pydantic import Field

from tasks.core.stage import StageSettings
from tasks.web.addresses import PublicAddress, expanded, public, scrubbed
from warehouse.errors import SettingError
from warehouse.store import Store, sha256_of

# Endings of packed files -> how they are unpacked; and what is raised where one is broken or cut short.
PACKED: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".zst": zstd.ZstdFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError, lzma.LZMAError, OSError)
FEW_FILES = 64  # up to so many each is a part of its own
LIST_SUFFIXES = (".paths", ".paths.gz")


class FilesSettings(StageSettings):
    """Which files."""

    files: tuple[PublicAddress, ...] = Field(
        min_length=1,
        description="paths, globs, or URLs such as s3:// and https://; a .paths or .paths.gz file is a list of them; "
        "${NAME} stands for an environment variable, such as one with a password or a signed address",
    )
    base: PublicAddress = Field(
        "https://data.commoncrawl.org/", description="where the entries of a .paths list are, unless they are URLs"
    )
    max_files: int | None = Field(None, ge=1, description="take so many files at most, the first of the list")


@dataclass(frozen=True)
class ExternalFile:
    """One file: where it is, what it is called below its glob, and what identifies its content.

    The address may let its reader in; ``public`` is what of it can be kept and shown.
    """

    address: str
    name: str
    digest: str
    size: int

    @property
    def public(self) -> str:
        """The address without what lets a reader in."""
        return public(self.address)

    @property
    def is_packed(self) -> bool:
        """Whether what it holds can be read from its beginning alone."""
        return self.name.lower().endswith(tuple(PACKED))

    def unpacked(self) -> IO[bytes]:
        """What a packed file holds, or the file itself. What it raises where it is broken is in ``BROKEN``."""
        raw: Any = self.open()  # some of fsspec's read no part of a line
        stream = io.BufferedReader(raw)
        opens = next((opened for suffix, opened in PACKED.items() if self.name.lower().endswith(suffix)), None)
        return stream if opens is None else opens(stream)

    def open(self) -> IO[bytes]:
        """The file's bytes, with seek; a remote one is read ahead block by block."""
        filesystem, path = fsspec.core.url_to_fs(self.address)
        opened: IO[bytes] = filesystem.open(path, "rb", **_read_ahead(self.address))
        return opened


def external_files(store: Store, settings: FilesSettings) -> list[ExternalFile]:
    """The files of a source in the order of their content, then their names. Raises SettingError where there is none."""
    return list(_found(store, settings.files, settings.base, settings.max_files))


def is_of_the_system(error: BaseException) -> bool:
    """Whether an error is one of reading at all, which another try may mend, and not of what was read."""
    return isinstance(error, OSError) and error.errno is not None


def groups_of(files: Sequence[ExternalFile], part_bytes: int) -> list[list[ExternalFile]]:
    """Files as parts hold them: each alone, or of very many the small ones together.

    A file that is added makes groups of its own and changes none. Among very many it may join a group of small ones:
    where those end is told by each file's content and size alone, on average after ``part_bytes``, so that no other
    group changes (content-defined chunking, as of Muthitacharoen et al. 2001).
    """
    if len(files) <= FEW_FILES:
        return [[file] for file in files]
    groups: list[list[ExternalFile]] = []
    open_group: list[ExternalFile] = []
    for file in files:
        if file.size >= part_bytes:
            groups.append([file])
            continue
        if not open_group:
            groups.append(open_group)
        open_group.append(file)
        if int(hashed(file.digest)[:8], 16) < 2**32 * file.size / part_bytes:
            open_group = []
    return groups


def hashed(text: str) -> str:
    """A digest of what identifies a file, which is none itself where a file is remote."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def _found(store: Store, patterns: tuple[str, ...], base: str, limit: int | None) -> tuple[ExternalFile, ...]:
    try:
        named = [entry for pattern in patterns for entry in _expand(expanded(pattern), expanded(base))][:limit]
        with _digests(store) as known:  # a file that two patterns find is one
            files = {file.address: file for file in (_identified(*entry, known) for entry in reversed(named))}
    except SettingError:
        raise
    except Exception as error:  # of any file system, each with errors of its own
        said = scrubbed(str(error))
        raise SettingError(f"the files {', '.join(patterns)} cannot be read: {said}") from None
    if not files:
        raise SettingError(f"there is no file {', '.join(patterns)}: name paths, globs or URLs that exist")
    return tuple(sorted(files.values(), key=lambda file: (file.digest, file.name, file.address)))


def _expand(pattern: str, base: str) -> list[tuple[str, str]]:
    """(address, public name) of what a pattern stands for; names are relative to the part of the pattern without stars."""
    if pattern.endswith(LIST_SUFFIXES):
        with fsspec.open(pattern, "rb") as stream:
            content = stream.read()
        lines = (gzip.decompress(content) if pattern.endswith(".gz") else content).decode().split()
        return [(line if "://" in line else base.rstrip("/") + "/" + line, public(line)) for line in lines]
    if not any(mark in pattern for mark in "*?["):
        return [(pattern, Path(public(pattern)).name)]
    files = fsspec.open_files(pattern, "rb")
    fixed = pattern[: min(pattern.index(mark) for mark in "*?[" if mark in pattern)].rpartition("/")[0]
    addresses = [files.fs.unstrip_protocol(file.path) if "://" in pattern else file.path for file in files]
    plain = fixed.partition("://")[2] or fixed or "."
    root = os.path.abspath(plain) if "://" not in pattern else plain
    return [
        (address, file.path.partition(root.rstrip("/") + "/")[2] or Path(file.path).name)
        for address, file in zip(addresses, files, strict=True)
    ]


def _identified(address: str, name: str, known: dict[str, list[str]]) -> ExternalFile:
    filesystem, path = fsspec.core.url_to_fs(address)
    if "://" in address and not address.startswith("file://"):
        # What the server says of it: reading it whole to name it would be reading it twice.
        info = filesystem.info(path)
        said = {
            name.lower(): str(info[name])
            for name in info
            if name.lower() in ("etag", "lastmodified", "last-modified", "mtime", "size")
        }
        return ExternalFile(
            address, name, f"remote:{public(address)} {json.dumps(said, sort_keys=True)}", int(info.get("size") or 0)
        )
    local = Path(path)
    status = local.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    if known.get(str(local), ["", ""])[0] != stamp:
        known[str(local)] = [stamp, sha256_of(local)]
    return ExternalFile(str(local), name, known[str(local)][1], status.st_size)


@contextmanager
def _digests(store: Store) -> Iterator[dict[str, list[str]]]:
    """Local files' SHA-256, remembered while their size and time of change stay what they are."""
    memory = store.scratch("digests") / "local.json"
    known: dict[str, list[str]] = json.loads(memory.read_text()) if memory.exists() else {}
    before = dict(known)
    yield known
    if known != before:
        with Store(str(memory.parent)).writing(memory.name) as temporary:
            temporary.write_text(json.dumps(known))


def _read_ahead(address: str) -> dict[str, Any]:
    remote = "://" in address and not address.startswith("file://")
    return {"block_size": 8 << 20, "cache_type": "readahead"} if remote else {}

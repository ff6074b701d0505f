"""The demo's sites: the same bytes each time, and nothing of the process that serves them."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from demo import works
from demo.serve import cache_folder
from tests.conftest import PROJECT

DIGEST = """
import hashlib, json, sys
from demo.serve import site_pages
print(json.dumps({path: hashlib.sha256(body).hexdigest() for path, (_, body) in site_pages(sys.argv[1], None).items()}))
"""


def served(site: str, **environment: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, site],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("site", ["works", "reference"])
def test_each_run_serves_the_same_bytes(site: str) -> None:
    first = served(site, PYTHONHASHSEED="1", SECRET_OF_THIS_TEST="a")
    assert first == served(
        site,
        PYTHONHASHSEED="2",
        SECRET_OF_THIS_TEST="b",
        HOME="/nonexistent",
        XDG_CACHE_HOME=str(cache_folder().parent),
    )
    assert len(first) > 500


def test_no_page_shows_a_value_of_the_process() -> None:
    from demo import reference

    own = [str(PROJECT), sys.prefix, sys.executable, socket.gethostname(), f"/{getpass.getuser()}/."]
    for path, (_, body) in reference.pages().items():
        text = body.decode()
        assert not re.search(r"\b0x[0-9a-f]{9,}", text), path
        assert not [value for value in own if len(value) > 4 and value in text], path
        assert not re.search(r"environ\(\{", text), path


def test_scenes_hold_every_line_of_a_work_once() -> None:
    for title, text in works.texts(works.fetch(cache_folder())).values():
        joined = "\n".join(body for _, body in works.scenes(text))
        lines = [line for line in text.splitlines() if line.strip()]
        assert [line for line in joined.splitlines() if line.strip()] == lines, title


def test_damaged_download_is_refused(tmp_path) -> None:
    (tmp_path / works.ARCHIVE).write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="is not the expected"):
        works.fetch(tmp_path)
    assert hashlib.sha256(works.fetch(cache_folder()).read_bytes()).hexdigest() == works.ARCHIVE_SHA256

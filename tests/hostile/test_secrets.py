"""Passwords and signatures of sources are used, and stand in nothing that is stored, logged or shown."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.recipe.loading import load_recipe
from tasks.web.addresses import expanded, public, scrubbed
from tests.conftest import PROJECT
from tests.loopback import serve
from warehouse.errors import SettingError

PASSWORD, SIGNATURE = "hunter2horse", "5ecre7s1gnature"
ROWS = b"\n".join(json.dumps({"text": f"text {n} " + "of some words " * 30}).encode() for n in range(20))


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that wants user and password, and a signature."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, whole: bool) -> None:
            wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
            allowed = self.headers.get("Authorization") == wanted and f"X-Amz-Signature={SIGNATURE}" in self.path
            status = 200 if allowed and "gone" not in self.path else 404 if allowed else 403
            self.send_response(status)
            self.send_header("Content-Length", str(len(ROWS) if status == 200 else 0))
            self.end_headers()
            if whole and status == 200:
                self.wfile.write(ROWS)

    server = serve(Handler)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def recipe_of(folder: Path, files: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(f'name = "secret"\nstore = "{folder / "store"}"\n[sources.a.jsonl]\nfiles = ["{files}"]\n')
    return path


def gristmill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "THE_PASSWORD": PASSWORD,
        "THE_SIGNATURE": SIGNATURE,
    }
    command = [sys.executable, "-m", "flows.commands.cli", *words]
    return subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)


def leaks(folder: Path) -> list[str]:
    """Files below a folder that hold a secret."""
    secrets = (PASSWORD.encode(), SIGNATURE.encode(), base64.b64encode(f"me:{PASSWORD}".encode()))
    return [
        str(path) for path in folder.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in secrets)
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("listed", [False, True])
def test_a_guarded_source_is_read_and_its_secrets_are_nowhere(guarded: str, tmp_path: Path, listed: bool) -> None:
    address = f"http://me:${{THE_PASSWORD}}@{guarded}/rows.jsonl?part=1&X-Amz-Signature=${{THE_SIGNATURE}}"
    lists = tmp_path / "lists"
    lists.mkdir()
    if listed:
        (lists / "files.paths").write_text(
            address.replace("${THE_PASSWORD}", PASSWORD).replace("${THE_SIGNATURE}", SIGNATURE)
        )
    work = tmp_path / "work"
    work.mkdir()
    recipe = recipe_of(work, str(lists / "files.paths") if listed else address)
    done = gristmill(work, "corpus", str(recipe), "--verbose")
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [done, gristmill(work, "status", str(recipe)), gristmill(work, "card", str(recipe))]
    shown.append(gristmill(work, "sql", "FROM artifacts", "--format", "json", "--config", str(recipe)))
    assert all(PASSWORD not in one.stdout + one.stderr and SIGNATURE not in one.stdout + one.stderr for one in shown)
    found = gristmill(work, "sql", "SELECT count(*) AS n FROM documents", "--format", "json", "--config", str(recipe))
    assert json.loads(found.stdout) == [{"n": 20}]
    assert leaks(work) == []
    assert (work / "prefect").exists()


def test_errors_name_the_public_address(guarded: str, tmp_path: Path) -> None:
    address = f"http://me:${{THE_PASSWORD}}@{guarded}/gone.jsonl?X-Amz-Signature=${{THE_SIGNATURE}}"
    done = gristmill(tmp_path, "corpus", str(recipe_of(tmp_path, address)))
    assert done.returncode == 1
    assert "gone.jsonl" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout
    assert SIGNATURE not in done.stderr + done.stdout
    assert leaks(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    [
        "https://me:word@host.example/x.parquet",
        "https://host.example/x.parquet?X-Amz-Signature=abc",
        "https://account.blob.example/c/x.parquet?sv=2024&sig=abc%3D",
        "https://host.example/x?access_token=abc",
        "s3://key:word@bucket/x.parquet",
    ],
)
def test_a_recipe_with_a_secret_is_refused_without_repeating_it(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingError, match=r"write \$\{NAME\} in its place") as refused:
        load_recipe(str(recipe_of(tmp_path, address)))
    assert "word" not in str(refused.value).replace("password", "")
    assert "abc" not in str(refused.value)


def test_what_is_public_of_an_address() -> None:
    assert (
        public("https://me:word@h.example/a/b.gz?part=2&X-Amz-Signature=s&X-Amz-Date=d")
        == "https://h.example/a/b.gz?part=2"
    )
    assert public("https://h.example/x?author=ann&sig=1") == "https://h.example/x?author=ann"
    assert public("/a/folder/with@sign?x") == "/a/folder/with@sign?x"
    assert (
        scrubbed("404, url='https://h.example/x?token=s' (s3://k:p@b/c)") == "404, url='https://h.example/x' (s3://b/c)"
    )
    with pytest.raises(SettingError, match="NOWHERE_SET"):
        expanded("https://h.example/${NOWHERE_SET}")

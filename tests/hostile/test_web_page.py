"""A page in a browser on the machine where `gristmill ui` runs: it can neither ask the server nor have a command run."""

from __future__ import annotations

import functools
import http.server
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.orchestration.health import Api
from flows.orchestration.secret import CLIENT, basic, secret_for, told
from flows.orchestration.server import deploy, server_environment, start_server, start_workers, stop
from flows.orchestration.worker import check
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS, PROJECT, free_port, sign_in
from warehouse.errors import GristmillError

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]

# What was seen to work: a flow, a deployment of it whose job variables name a command, and a run. It says what it reached.
ATTACK = """<!doctype html><title>attack</title><script>
const base = "BASE", said = [];
async function ask(path, body, plain) {
  const options = body === undefined ? {} : {method: "POST", body: JSON.stringify(body)};
  if (body !== undefined && !plain) options.headers = {"Content-Type": "application/json"};
  if (plain) options.mode = "no-cors";
  try {
    const answer = await fetch(base + path, options);
    const text = await answer.text();
    said.push([path, answer.status, text.slice(0, 200)]);
    return JSON.parse(text);
  } catch (error) { said.push([path, 0, String(error)]); return null; }
}
(async () => {
  for (const plain of [false, true]) {
    const flow = await ask("/api/flows/", {name: "evil"}, plain);
    const deployment = await ask("/api/deployments/", {name: "evil", flow_id: flow ? flow.id : "x", work_pool_name: "data",
      entrypoint: "flows/crawl.py:crawl", job_variables: {command: "touch MARKER"}}, plain);
    await ask(`/api/deployments/${deployment ? deployment.id : "x"}/create_flow_run`, {state: {type: "SCHEDULED"}}, plain);
  }
  await ask("/api/deployments/filter", {});
  await new Promise(done => {
    const socket = new WebSocket(base.replace("http", "ws") + "/api/events/out", ["prefect"]);
    socket.onopen = () => { said.push(["socket", 101, "open"]); done(); };
    socket.onerror = () => { said.push(["socket", 0, "refused"]); done(); };
  });
  const frame = document.createElement("iframe");
  frame.src = base + "/dashboard";
  frame.onload = () => { document.title = JSON.stringify(said); };
  document.body.append(frame);
})();
</script>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, dict[str, str], int]]:
    folder, port = tmp_path_factory.mktemp("attacked"), free_port()
    environment = server_environment(PROJECT, port) | {
        "PREFECT_HOME": str(folder),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    process = start_server(environment, port, folder / "server.log")
    workers: list[Any] = []
    try:
        deploy(environment, PROJECT)
        workers = start_workers(environment, folder / "workers.log")
        yield Api(environment["PREFECT_API_URL"], environment[CLIENT]), environment, port
    finally:
        stop([*workers, process])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (.ci/run installs it)")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.test"])
def test_a_page_of_another_server_reaches_nothing(
    server: tuple[Api, dict[str, str], int], tmp_path: Path, host: str
) -> None:
    from playwright.sync_api import sync_playwright

    api, _, port = server
    before = sorted(flow["name"] for flow in api.post("/flows/filter"))
    assert "pipeline" in before
    marker = tmp_path / "marker"
    (tmp_path / "page").mkdir()
    page_file = tmp_path / "page" / "index.html"
    page_file.write_text(ATTACK.replace("BASE", f"http://{host}:{port}").replace("MARKER", str(marker)))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "page"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as evil, sync_playwright() as driver:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        flags = [*CHROMIUM_FLAGS, "--host-resolver-rules=MAP evil.test 127.0.0.1"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.goto(f"http://{host}:{evil.server_port}/index.html")
        page.wait_for_function("document.title.startsWith('[')", timeout=60_000)
        said = json.loads(page.title())
        # As where a name is bound to this machine after the page was loaded: then the page is of the server's own origin.
        answer = page.goto(f"http://evil.test:{port}/api/flows/count")
        assert answer is not None
        rebound = answer.status
        framed = page.goto(f"http://127.0.0.1:{port}/dashboard")
        assert framed is not None
        assert framed.headers["x-frame-options"] == "DENY"
        browser.close()
        evil.shutdown()
    assert {"/api/flows/", "/api/deployments/", "socket"} <= {path for path, _, _ in said}
    assert all(status in (0, 401, 403, 421) for _, status, _ in said), said
    assert rebound == 421
    assert sorted(flow["name"] for flow in api.post("/flows/filter")) == before
    assert not marker.exists()


def test_no_request_without_the_secret_by_another_name_or_of_another_page(
    server: tuple[Api, dict[str, str], int],
) -> None:
    _, environment, port = server
    address = f"http://127.0.0.1:{port}"
    user, _, password = environment[CLIENT].partition(":")

    def status(headers: dict[str, str], secret: bool = True) -> int:
        answer = httpx.post(
            f"{address}/api/flows/filter", json={}, headers=headers, auth=(user, password) if secret else None
        )
        return answer.status_code

    assert status({}) == 200
    assert status({"Origin": address}) == 200
    assert status({"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}) == 200
    assert status({}, secret=False) == 401
    assert status({"Host": "evil.test"}) == status({"Host": f"evil.test:{port}"}) == 421
    assert status({"Host": f"127.0.0.1.evil.test:{port}"}) == status({"Host": f"127.0.0.1:{port + 1}"}) == 421
    assert status({"Origin": "http://evil.test"}) == status({"Origin": "null"}) == 403
    assert status({"Origin": f"{address}.evil.test"}) == status({"Origin": f"http://127.0.0.1:{port + 1}"}) == 403
    assert httpx.get(f"{address}/api/health", headers={"Host": "evil.test"}).status_code == 421
    cors = httpx.options(
        f"{address}/api/flows/", headers={"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}
    )
    assert "access-control-allow-origin" not in cors.headers


def test_a_known_flow_runs_without_the_command_and_environment_of_its_job_variables(
    server: tuple[Api, dict[str, str], int], tmp_path: Path
) -> None:
    api, _, _ = server
    marker = tmp_path / "marker"
    found = {one["name"]: one for one in api.post("/deployments/filter")}
    variables = {"command": f"touch {marker}", "env": {"PATH": "/nowhere", "PYTHONHOME": "/nowhere"}}
    runs = [
        api.post(
            f"/deployments/{found['corpus']['id']}/create_flow_run",
            {
                "state": {"type": "SCHEDULED"},
                "parameters": {"config": str(tmp_path / "none.toml")},
                "job_variables": variables,
            },
        )
    ]
    evil = api.post(
        "/deployments/",
        {
            "name": "evil",
            "flow_id": found["corpus"]["flow_id"],
            "work_pool_name": "data",
            "entrypoint": "flows/corpus.py:corpus",
            "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": f"touch {marker}"}}],
        },
    )
    runs.append(api.post(f"/deployments/{evil['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}}))
    deadline = time.monotonic() + 120
    ended: list[dict[str, Any]] = []
    while time.monotonic() < deadline and len(ended) < 2:
        ended = [
            run
            for run in (api.get(f"/flow_runs/{one['id']}") for one in runs)
            if run["state_type"] in ("FAILED", "CRASHED", "COMPLETED")
        ]
        time.sleep(0.5)
    api.ask("DELETE", f"/deployments/{evil['id']}")
    states = {run["deployment_id"]: run for run in ended}
    assert not marker.exists()
    # The first ran as itself and found no recipe; the second did not run.
    assert states[found["corpus"]["id"]]["state_type"] == "FAILED"
    assert "none.toml" in states[found["corpus"]["id"]]["state"]["message"]
    assert states[evil["id"]]["state_type"] == "CRASHED"
    assert "pull steps" in states[evil["id"]]["state"]["message"]


def test_workers_refuse_what_the_project_does_not_deploy() -> None:
    class Deployment:
        name, entrypoint, pull_steps = "mine", "flows/crawl.py:crawl", None

    check(Deployment(), PROJECT)
    Deployment.pull_steps = [{"prefect.deployments.steps.set_working_directory": {"directory": "/tmp"}}]  # type: ignore[assignment]
    with pytest.raises(GristmillError, match="other pull steps"):
        check(Deployment(), PROJECT)
    for entrypoint in ("flows/commands/cli.py:main", "os:system", "/tmp/x.py:flow"):
        Deployment.entrypoint, Deployment.pull_steps = entrypoint, None
        with pytest.raises(GristmillError, match="does not deploy"):
            check(Deployment(), PROJECT)
    with pytest.raises(GristmillError, match="does not deploy"):
        check(None, PROJECT)


def test_the_secret_is_its_users_alone_and_commands_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    left = tmp_path / "gristmill-4200.secret"
    left.write_text("old")
    left.chmod(0o666)
    with told(4200, "gristmill:new"):
        assert stat.S_IMODE(os.stat(left).st_mode) == 0o600
        assert secret_for("http://127.0.0.1:4200/api") == secret_for("http://localhost:4200/api") == "gristmill:new"
        assert secret_for("http://127.0.0.1:4201/api") is None
        assert secret_for("http://elsewhere.example:4200/api") is None
    assert not left.exists()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (.ci/run installs it)")
def test_the_printed_link_lets_a_browser_in_and_nothing_else_does(
    server: tuple[Api, dict[str, str], int], tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    _, environment, port = server
    address = f"http://127.0.0.1:{port}"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.goto(f"{address}/deployments")
        page.get_by_text("Login").first.wait_for(timeout=60_000)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        sign_in(page, address, environment[CLIENT])
        for number, path in enumerate(("/deployments", "/v2/deployments")):
            page.goto(f"{address}{path}")
            page.get_by_text("tokenizer").first.wait_for(timeout=150_000)
            page.screenshot(path=tmp_path / f"deployments-{number}.png")
        browser.close()
    assert all(basic(environment[CLIENT]) not in url.partition("#")[0] for url in sent)

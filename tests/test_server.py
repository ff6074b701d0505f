"""Against a real Prefect server: the deployments are accepted, a run goes through a worker, and its page shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.orchestration.health import Api
from flows.orchestration.secret import CLIENT
from flows.orchestration.server import deploy, server_environment, start_server, start_workers, stop
from flows.query import rows
from flows.recipe.loading import load_recipe
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS, PROJECT, Run, free_port, sign_in
from warehouse.store import Store

DEPLOYMENTS = {"crawl", "corpus", "tokenizer", "pretrain", "evaluate", "pipeline", "scaling", "finetune", "align"}

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]


class Server(Api):
    def __init__(self, environment: dict[str, str], port: int) -> None:
        super().__init__(environment["PREFECT_API_URL"], environment[CLIENT])
        self.environment, self.address = environment, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    environment = server_environment(PROJECT, port) | {"PREFECT_HOME": str(folder)}
    process = start_server(environment, port, folder / "server.log")
    workers: list[Any] = []
    try:
        deploy(environment, PROJECT)
        workers = start_workers(environment, folder / "workers.log")
        yield Server(environment, port)
    finally:
        stop([*workers, process])


def test_prefect_yaml_holds_every_flow_and_deploys_again_unchanged(server: Server) -> None:
    deploy(server.environment, PROJECT)
    found = {deployment["name"]: deployment for deployment in server.post("/deployments/filter")}
    assert set(found) == DEPLOYMENTS
    assert {d["work_pool_name"] for d in found.values()} == {"data", "gpu"}
    assert [(s["schedule"]["cron"], s["active"]) for s in found["crawl"]["schedules"]] == [("15 3 * * *", True)]
    assert [(s["schedule"]["cron"], s["active"]) for s in found["pipeline"]["schedules"]] == [("0 5 * * 0", False)]
    assert "Where a crawl starts" in json.dumps(found["pipeline"]["parameter_openapi_schema"])


@pytest.fixture(scope="module")
def completed(server: Server, finished: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of the deployment `pipeline` through its worker, over the archived crawl of the finished run."""
    store = tmp_path_factory.mktemp("deployed") / "store"
    shutil.copytree(finished.store / "artifacts" / "crawl", store / "artifacts" / "crawl")
    recipe = load_recipe("demo-tiny", Run(store, finished.ports).overrides).model_dump(mode="json")
    (deployment,) = [d for d in server.post("/deployments/filter") if d["name"] == "pipeline"]
    run = server.post(
        f"/deployments/{deployment['id']}/create_flow_run",
        {"parameters": {"recipe": recipe}, "state": {"type": "SCHEDULED"}},
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        run = server.get(f"/flow_runs/{run['id']}")
        if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            break
        time.sleep(1)
    logs = server.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
    assert run["state_type"] == "COMPLETED", "\n".join(line["message"] for line in logs)[-3000:]
    return run


def test_run_through_a_worker_completes_with_named_tasks_and_artifacts(
    server: Server, completed: dict[str, Any], finished: Run
) -> None:
    assert completed["name"].startswith("pipeline demo-tiny ")
    tasks = {task["name"] for task in server.post("/task_runs/filter", {"limit": 200})}
    assert {
        "crawl works · there already",
        "match · clusters",
        "pretrain · final",
        "evaluate pretrain · held-out-text-0-shot-by-baseline-5-gram",
    } <= tasks
    assert any(name.startswith("extract reference · reference-") for name in tasks)
    states = {task["state_name"] for task in server.post("/task_runs/filter", {"limit": 200})}
    assert states == {"Completed", "Reused"}
    artifacts = {artifact["key"]: artifact for artifact in server.post("/artifacts/filter", {"limit": 50})}
    assert {"crawl-summary", "funnel", "tokens", "training", "scores", "report"} <= set(artifacts)
    (made,) = rows(
        Store(str(finished.store)),  # of the same pages
        "SELECT sum(n_bytes) / sum(length) AS per FROM token_spans WHERE source = 'works' AND split = 'train'",
    )
    assert f"| {made['per']:.2f} |" in artifacts["tokens"]["data"]
    assert json.loads(artifacts["funnel"]["data"])[0]["stage"] in ("crawl", "extract", "select")


def show(page: Any, tab: str, text: str, picture: Path) -> None:
    """Opens a tab of a run's page, waits until it shows a text, and takes a picture of it."""
    try:
        page.get_by_text(tab, exact=True).first.click(timeout=30_000)
        page.get_by_text(text).first.wait_for(timeout=30_000)
    finally:
        page.screenshot(path=picture)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (.ci/run installs it)")
def test_page_of_the_run_shows_its_tasks_and_artifacts(server: Server, completed: dict[str, Any]) -> None:
    from playwright.sync_api import sync_playwright

    pictures = Path(os.environ.get("GRISTMILL_SCREENSHOTS", PROJECT / "build"))
    pictures.mkdir(exist_ok=True)
    (corpus,) = [run for run in server.post("/flow_runs/filter", {"limit": 50}) if run["name"].startswith("corpus ")]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        sign_in(page, server.address, server.environment[CLIENT])
        page.goto(f"{server.address}/runs/flow-run/{completed['id']}")
        page.get_by_text(completed["name"]).first.wait_for(timeout=60_000)
        show(page, "Subflow Runs", "corpus demo-tiny", pictures / "pipeline-run.png")
        page.goto(f"{server.address}/runs/flow-run/{corpus['id']}")
        show(page, "Task Runs", "match · clusters", pictures / "corpus-tasks.png")
        show(page, "Artifacts", "funnel", pictures / "corpus-artifacts.png")
        browser.close()
    assert all(
        (pictures / name).stat().st_size > 20_000
        for name in ("pipeline-run.png", "corpus-tasks.png", "corpus-artifacts.png")
    )


def test_credentials_are_taken_from_a_secret_block_of_the_server(server: Server) -> None:
    script = (
        "import os; from prefect.blocks.system import Secret; from flows.commands.options import recipe_of\n"
        "Secret(value='hunter2horse').save('gristmill-test-word')\n"
        "recipe_of('demo-tiny', ['sources.x.jsonl.files=[\"https://me:${GRISTMILL_TEST_WORD}@h.example/x.jsonl\"]'])\n"
        "print(os.environ['GRISTMILL_TEST_WORD'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=server.environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "hunter2horse", done.stderr[-2000:]


def test_taken_port_is_one_sentence(server: Server, tmp_path: Path) -> None:
    from warehouse.errors import GristmillError

    port = int(server.address.rsplit(":", 1)[1])
    with pytest.raises(GristmillError, match=f"port {port} is in use"):
        start_server(server.environment, port, tmp_path / "log")

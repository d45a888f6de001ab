"""Deployments: the times of a schedule, `prefect.yaml`, its automation, and the webhook."""

import asyncio
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import yaml
from checkout import CHECKOUT
from minimal_run import config
from prefect import State
from prefect.events.schemas.automations import AutomationCore
from prefect.server.schemas.schedules import CronSchedule

from contracts.errors import UserError
from flows.on_policy import on_policy
from flows.pipeline.config import RunConfig
from flows.prefect_ import gpus, webhook
from flows.prefect_.names import named
from flows.prefect_.schedule import Times, only_one, times


@pytest.mark.parametrize(("every", "is_told"), [
    ("30m", timedelta(minutes=30)), ("6h", timedelta(hours=6)), ("1d", timedelta(days=1)),
])  # fmt: skip
def test_a_schedule_may_be_a_period(every: str, is_told: timedelta) -> None:
    assert times(None, every) == Times(every=is_told)
    assert times("0 2 * * *", None) == Times(cron="0 2 * * *")


def test_the_times_of_a_schedule_are_told_in_the_zone_that_prefect_takes_them_in() -> None:
    when = times("0 2 * * *", None)
    dates = asyncio.run(CronSchedule(cron=str(when.cron)).get_dates(1))
    assert (dates[0].hour, dates[0].utcoffset()) == (2, timedelta(0))
    assert str(when) == "at '0 2 * * *' (UTC)"


def test_a_run_has_one_schedule(tmp_path: Path) -> None:
    with only_one(tmp_path):
        refused = pytest.raises(UserError, match=r"process .* serves a schedule of it already")
        with refused, only_one(tmp_path):
            pass
    with only_one(tmp_path):  # the first is over
        pass


@pytest.mark.parametrize(("cron", "every", "said"), [
    (None, None, "one of --cron"),
    ("0 2 * * *", "6h", "one of --cron"),
    ("at two", None, "not a cron expression"),
    (None, "0h", "30m, 6h, 1d"),
    (None, "6", "30m, 6h, 1d"),
])  # fmt: skip
def test_times_that_say_nothing_are_refused(cron: str, every: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        times(cron, every)


def test_the_deployment_for_work_pools_is_one_of_this_flow_and_of_a_config_that_is_there() -> None:
    (deployment,) = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    path, name = deployment["entrypoint"].split(":")
    assert (CHECKOUT / path).is_file() and on_policy.fn.__name__ == name
    given = on_policy.validate_parameters(deployment["parameters"])
    assert (CHECKOUT / given["config"]).is_file()
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_the_documented_automation_is_one_that_prefect_takes() -> None:
    text = (CHECKOUT / "docs" / "examples" / "restart-crashed.yaml").read_text()
    automation = AutomationCore.model_validate(yaml.safe_load(text))
    assert [action.type for action in automation.actions] == ["run-deployment"]


def test_a_run_that_waits_for_gpus_says_so_in_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody else at them it says nothing."""
    monkeypatch.setattr("runtime.gpu_lock.lock_folder", lambda: tmp_path)
    monkeypatch.setattr(gpus, "gpus_in_sight", lambda: ["0"])
    said: list[str] = []
    monkeypatch.setattr(gpus, "print_warning", said.append)
    run = config(runs_dir=str(tmp_path))
    with gpus.gpus_held(run):
        waiting = threading.Thread(target=_enter, args=(run,), daemon=True)
        waiting.start()
        waiting.join(0.3)
        assert said == [f"{run.name} waits: GPU 0 is in use by {run.folder}"]
    waiting.join(10)
    assert not waiting.is_alive() and len(said) == 1


def test_a_run_that_waits_for_gpus_takes_back_no_cancelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect 3.9.1 refuses Running after Cancelling, unless it is forced."""
    told: list[tuple[str | None, bool]] = []

    class Client:
        def set_flow_run_state(self, _: UUID, state: State[None], force: bool = False) -> None:
            told.append((state.name, force))

    monkeypatch.setattr(gpus, "flow_run", SimpleNamespace(id=str(UUID(int=1))))
    monkeypatch.setattr(gpus, "get_client", lambda **_: nullcontext(Client()))

    @contextmanager
    def held(_gpus: object, _owner: str, waits: Callable[[str], None]) -> Iterator[None]:
        waits("GPU 0 is in use by runs/other")
        yield

    monkeypatch.setattr(gpus, "hold_gpus", held)
    _enter(config())
    assert told == [("WaitingForGPUs", False), ("Running", False)]


def _enter(run: RunConfig) -> None:
    with gpus.gpus_held(run):
        pass


class _Hook(http.server.BaseHTTPRequestHandler):
    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    _Hook.posted = []
    with http.server.HTTPServer(("127.0.0.1", 0), _Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(webhook.VARIABLE, f"http://127.0.0.1:{server.server_port}/SECRET")
        yield _Hook.posted
        server.shutdown()


def test_a_failure_is_posted_with_the_runs_name(posted: list[dict[str, Any]]) -> None:
    webhook.post("failed", "demo, round 1", "the loss is not finite")
    text = "demo, round 1: the loss is not finite"
    assert posted == [{"text": text, "event": "failed", "run": "demo, round 1"}]


def test_a_webhook_that_is_gone_is_a_warning_without_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(webhook, "print_warning", said.append)
    addresses = ("http://127.0.0.1:9/SECRET", "file:///SECRET", "https://127.0.0.1:9/ SECRET",
                 "https://127.0.0.1:SECRET/")  # fmt: skip
    for address in addresses:
        monkeypatch.setenv(webhook.VARIABLE, address)
        webhook.post("gate", "demo", "stop")
    monkeypatch.delenv(webhook.VARIABLE)
    webhook.post("gate", "demo", "stop")
    assert len(said) == len(addresses) and "SECRET" not in "".join(said)


def test_a_run_by_a_configs_path_is_named_like_any_other() -> None:
    assert named(str(CHECKOUT / "configs" / "demo.yaml"), next_round=False).startswith("demo")

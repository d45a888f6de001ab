"""`onpolicy plan`: what a run will do and take, told before anything is begun."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from made_run import made
from typer.testing import CliRunner

from contracts.config.yaml import dump_yaml
from contracts.errors import OnPolicyError, UserError
from flows.cli.app import app
from flows.forecast import clusters
from flows.forecast.plan import RunPlan, forecast
from flows.forecast.rates import given_rates
from flows.forecast.text import as_text
from flows.pipeline.config import RunConfig
from runtime.cluster import count
from runtime.cluster.config import RayCluster
from runtime.cluster.count import Counted
from runtime.cluster.seating import Node, Request


def rows(told: RunPlan) -> dict[str, int | None]:
    return {stage.path: stage.rows for stage in told.stages}


def test_rows_and_tokens_follow_from_the_config(settings: Callable[..., RunConfig]) -> None:
    told = forecast(settings(), rates={}, prompt=10, answer=20)
    known = rows(told)
    assert known["prompts"] == 30 and known["round-0/prompts"] == 4
    assert known["round-1/responses"] == 40 and known["round-1/scores"] == 40
    assert known["round-2/policy"] == 10
    by_path = {stage.path: stage for stage in told.stages}
    assert by_path["round-1/responses"].tokens == 800
    assert by_path["round-1/policy"].tokens == 10 * (10 + 2 * 20)


def test_prompts_are_no_more_than_their_files_limits_and_weights_give(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    def prompts(**given: Any) -> int | None:
        given = {"test_size": 4} | given
        return rows(forecast(settings(rounds=1, prompts=given), rates={}))["prompts"]

    first = {"path": str(tmp_path / "prompts.jsonl")}
    second = {"path": str(tmp_path / "more.jsonl")}
    settings()
    (tmp_path / "more.jsonl").write_text('{"prompt": "Tell."}\n' * 30)
    assert prompts(**first, limit=1000) == 30 and prompts(**first, limit=20) == 20
    assert prompts(sources=[first | {"limit": 10}, second]) == 40
    assert prompts(sources=[first | {"weight": 1}, second | {"weight": 9}]) == 33
    there = {"path": "owner/prompts", "revision": "abc"}
    assert prompts(sources=[first, there | {"limit": 8}]) == 38
    assert prompts(sources=[first, there]) is None


def test_hours_come_from_the_rates_given_and_what_has_none_is_named(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    told = forecast(settings(rounds=1), rates={"responses": 0.01})
    assert told.seconds == pytest.approx((4 + 40 + 4) / 0.01)
    assert "policy" in told.without_rate and "responses" not in told.without_rate
    text = as_text(told)
    assert "at least 1:20:00" in text and "--rate NAME=ROWS_A_SECOND" in text
    unknown = as_text(forecast(settings(rounds=1), rates={}))
    assert max(map(len, unknown.splitlines())) > 60
    narrow = as_text(forecast(settings(rounds=1), rates={}), 60)
    lines = [line for line in narrow.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 60
    assert "rows 40" in narrow and "in all " in narrow
    assert "In all: an unknown time, " in unknown and "; no rate is known of " in unknown


def test_what_is_done_and_what_another_run_has_done_costs_nothing(
    settings: Callable[..., RunConfig],
) -> None:
    made(settings(rounds=1))
    again = forecast(settings(rounds=1), rates={})
    assert {stage.state for stage in again.stages} == {"done"} and again.seconds == 0
    other = forecast(settings(rounds=1, name="other", training={"learning_rate": 1e-6}), rates={})
    states = {stage.path: stage.state for stage in other.stages}
    assert states["round-1/scores"] == "reuse" and states["round-1/policy"] == "to do"
    assert states["round-1/evaluation/responses"] == "to do"
    resampled = forecast(settings(rounds=1, name="third", sampling={"n": 8}), rates={})
    states = {stage.path: stage.state for stage in resampled.stages}
    assert states["round-1/responses"] == states["round-1/scores"] == "to do"


def test_the_gpus_of_a_cluster_are_counted_and_planned_for(
    settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node(str(number), f"10.0.0.{number}", 64, 8) for number in range(4)]
    monkeypatch.setattr(count, "connect", lambda _: True)
    monkeypatch.setattr(count, "nodes", lambda: nodes)

    def here(cluster: RayCluster, requests: dict[str, Request]) -> Counted:
        return count.counted(count.Count(cluster=cluster, requests=requests))

    monkeypatch.setattr(clusters, "_counted", here)
    engine = {"kind": "vllm", "resources": {"tensor_parallel": 2}}
    config = settings(rounds=1, resources={"cluster": "ray"}, sampling={"n": 4, "engine": engine})
    told = forecast(config, rates={})
    (one,) = told.clusters
    assert (told.device, one.nodes, one.gpus) == ("cuda", 4, 32)
    assert (one.workers["responses"], one.workers["scores"]) == (16, 32)
    assert "has 4 nodes, 32 GPUs and 256 CPUs by now; workers: " in as_text(told)
    monkeypatch.setattr(count, "nodes", Mock(side_effect=OnPolicyError("the cluster is gone")))
    text = as_text(forecast(config, rates={}))
    assert "The cluster's GPUs are not counted: the cluster is gone" in text


def test_it_writes_nothing(settings: Callable[..., RunConfig], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    forecast(settings(), rates={})
    assert sorted(tmp_path.rglob("*")) == before


def test_run_dry_run_and_plan_say_the_same_as_text_and_as_json(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(settings().model_dump(mode="json")))
    planned = CliRunner().invoke(app, ["plan", str(path)])
    assert planned.exit_code == 0, planned.output
    assert CliRunner().invoke(app, ["run", str(path), "--dry-run"]).stdout == planned.stdout
    told = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)
    assert told["stages"][0]["path"] == "prompts" and told["assumptions"]
    trained = next(one for one in told["stages"] if one["path"] == "round-1/policy")
    assert trained["memory"]["total"] > trained["memory"]["weights"]


@pytest.mark.parametrize("text", ["responses", "responses=x", "=2", "responses=0", "a=inf"])
def test_a_rate_that_is_none_says_how_to_give_one(text: str) -> None:
    with pytest.raises(UserError, match="rows a second"):
        given_rates([text])


def test_a_rate_of_a_stage_that_is_not_there_names_those_that_are(
    settings: Callable[..., RunConfig],
) -> None:
    with pytest.raises(UserError, match=r"--rate respones: the plan has no such stage.* responses"):
        forecast(settings(), rates={"policy": 1.0, "respones": 1.0})

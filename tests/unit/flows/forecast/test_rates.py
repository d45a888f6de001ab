"""Which earlier steps say how quick a step will be."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from made_run import made

from flows.forecast.plan import forecast
from flows.forecast.text import as_text
from flows.pipeline.config import RunConfig

SAMPLING = "round-1/responses"


@pytest.fixture
def settings(runs_with: Callable[..., Callable[..., RunConfig]]) -> Callable[..., RunConfig]:
    """Configs of one round beside each other, over a policy that is no more than its sizes."""
    return runs_with({}, rounds=1)


def rated(planned: RunConfig, device: Any = "cpu") -> set[str]:
    """Folders of the steps whose speed is known."""
    told = forecast(planned, rates={}, device=device)
    return {stage.path for stage in told.stages if stage.seconds is not None}


def another(settings: Callable[..., RunConfig], **changes: Any) -> RunConfig:
    """A run that cannot take over what the first one has sampled."""
    sampling = {"n": 4, "temperature": 0.5, **changes.pop("sampling", {})}
    return settings(name="other", sampling=sampling, **changes)


def test_rates_are_those_of_the_same_device_and_layout(settings: Callable[..., RunConfig]) -> None:
    made(settings())
    assert {SAMPLING, "round-1/policy", "round-1/pairs"} <= rated(another(settings))
    on_gpu = rated(another(settings), "cuda")
    assert "round-1/pairs" in on_gpu and not {SAMPLING, "round-1/policy"} & on_gpu
    engine = {"kind": "vllm", "resources": {"data_parallel": 8}}
    assert SAMPLING not in rated(another(settings, sampling={"engine": engine}))
    for training in ({"lora": {"rank": 8}}, {"resources": {"strategy": "none"}}):
        told = rated(another(settings, training=training))
        assert SAMPLING in told and "round-1/policy" not in told


def test_a_resumed_step_says_nothing_of_its_speed(settings: Callable[..., RunConfig]) -> None:
    path = made(settings()).folder / "round-1/policy" / "_manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resumed": True}))
    assert "round-1/policy" not in rated(another(settings))


def test_a_slow_rate_is_told(settings: Callable[..., RunConfig]) -> None:
    told = forecast(settings(), rates={"policy": 0.03, "responses": 12.54})
    text = as_text(told)
    assert "policy: 0.03 rows/s (given)" in text and "responses: 12.5 rows/s (given)" in text

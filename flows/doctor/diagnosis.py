"""`onpolicy doctor`: all that was looked at, a line each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from contracts.models.hub import in_cache, is_hub_id
from contracts.models.model import ModelConfig, local_folder, split_reference
from flows.doctor.finding import Finding
from flows.doctor.machine import machine
from flows.doctor.tokenizers import tokenizers
from flows.pipeline.checks.check import annotators_of, quick_faults
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.claimed import datasets_of
from flows.pipeline.folder.run_folder import settled

_MARKS = {"ok": "ok  ", "note": "note", "stop": "STOP"}


def diagnose(config: RunConfig | None) -> Iterator[Finding]:
    """What is found of this machine, and of a config on it."""
    if config is None:
        yield from machine(frozenset(), Path("runs"), [])
        return
    config = settled(config)
    yield from machine(_needs(config), config.runs_dir, _to_fetch(config))
    yield from tokenizers(config)
    faults = quick_faults(config)
    for fault in faults:
        yield Finding("stop", "config", fault)
    if not faults:
        yield Finding("ok", "config", f"{config.name}: names, files, models and engines are there")


def _needs(config: RunConfig) -> frozenset[str]:
    strategies = {one.training.resources.strategy for one in config.stretches.values()}
    engines = {config.sampling.engine.kind, config.evaluation.sampling.engine.kind}
    names = {"vllm"} & engines
    return frozenset(names | ({"deepspeed"} if {"zero2", "zero3"} & strategies else set()))


def _to_fetch(config: RunConfig) -> list[str]:
    """Models and datasets that are on the hub alone."""
    models = [config.policy, *annotators_of(config).values()]
    names = [config.pinned(one.reference) for one in models if isinstance(one, ModelConfig)]
    models_away = (name for name in names if is_hub_id(name) and local_folder(name) is None)
    datasets = [config.pinned(reference, "dataset") for reference in datasets_of(config)]
    datasets_away = (
        name
        for name in datasets
        if is_hub_id(name) and not in_cache("dataset", *split_reference(name))
    )
    return list(dict.fromkeys([*models_away, *datasets_away]))


def as_text(found: Sequence[Finding]) -> str:
    """A line each, with its way out below it."""
    lines = []
    for one in found:
        lines.append(f"{_MARKS[one.state]}  {one.what}: {one.says}")
        if one.way_out:
            lines.append(f"      -> {one.way_out}")
    stops = sum(one.state == "stop" for one in found)
    lines.append(f"{stops} thing(s) would stop a run" if stops else "nothing here stops a run")
    return "\n".join(lines)

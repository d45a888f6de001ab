"""The published models: what `onpolicy plan` says of their memory. Of the configs for one GPU, it
says what they and the docs say."""

import json
import re
from pathlib import Path

import pytest
from checkout import CHECKOUT

from benchmarks.support.shapes import PUBLISHED, Shape
from contracts.config.base import load_config
from contracts.models.architecture import language_model
from flows.forecast.memory import Memory
from flows.forecast.plan import forecast
from flows.pipeline.config import RunConfig

PAGES = [(CHECKOUT / page).read_text() for page in ("README.md", "docs/install.md")]
# Config, shape of its policy, the GPU's GiB.
MACHINES = [
    ("gemma2-2b-it-lora", "gemma-2-2b", 24),
    ("gemma2-2b-it-simpo", "gemma-2-2b", 80),
    ("gemma2-9b-it-qlora", "gemma-2-9b", 80),
    ("gemma2-9b-it-simpo", "gemma-2-9b", 80),
]
STAGES = ("responses", "scores", "policy")
# Config, shape of its policy, parameters; GiB by stage on an 80 GB GPU: vLLM fills 0.9 of it.
LARGE = [
    ("llama3-8b-instruct-simpo", "llama-3-8b", 8_030_261_248, (72.0, 31.6, 26.0)),
    ("gemma2-9b-it-simpo", "gemma-2-27b", 27_227_128_320, (72.0, 31.6, 75.4)),
]


def model(folder: Path, shape: Shape) -> str:
    """A folder that has as much of a model as a forecast reads."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(shape.settings))
    (folder / "model.safetensors").touch()
    return str(folder)


def taken(name: str, shape: str, gib: int, folder: Path, *changes: str) -> dict[str, Memory]:
    """By stage of the first round."""
    policy = model(folder / "policy", PUBLISHED[shape])
    reward = model(folder / "reward", PUBLISHED["llama-3-8b"])
    overrides = [f"policy.path={policy}", f"annotation.annotators.0.path={reward}",
                 "evaluation.judges=[]", "evaluation.benchmarks=[]", "date=2026-01-01",
                 *changes]  # fmt: skip
    config = load_config(RunConfig, CHECKOUT / "configs" / f"{name}.yaml", overrides)
    told = forecast(config, rates={}, prompt=300, answer=500, gpu_gib=gib)
    by_path = {stage.path: stage.memory for stage in told.stages if stage.memory}
    return {stage: by_path[f"round-1/{stage}"] for stage in STAGES}


def peaks(name: str, shape: str, gib: int, folder: Path) -> dict[str, float]:
    """GiB by stage."""
    return {
        stage: memory.total / (1 << 30) for stage, memory in taken(name, shape, gib, folder).items()
    }


@pytest.mark.parametrize(("name", "shape", "gib"), MACHINES)
def test_a_config_fits_its_gpu_and_says_what_is_planned(
    name: str, shape: str, gib: int, tmp_path: Path
) -> None:
    planned = taken(name, shape, gib, tmp_path)
    found = {stage: memory.total / (1 << 30) for stage, memory in planned.items()}
    # CUDA's context and libraries take up to 2 GiB beside it, and a 24 GB card shows 23.5 or so.
    assert max(found.values()) < gib - 2
    shown = [f"{found[stage]:.1f}" for stage in STAGES]
    row = " | ".join([*shown, f"{planned['policy'].host / (1 << 30):.1f}"])
    for page in PAGES:
        assert re.search(rf"\| `{name}` \| [^|]+ \| {re.escape(row)} \|", page), row
    text = (CHECKOUT / "configs" / f"{name}.yaml").read_text()
    told = "   ".join(f"{stage} {value}" for stage, value in zip(STAGES, shown, strict=True))
    assert told in text


@pytest.mark.parametrize(("name", "shape", "parameters", "gib"), LARGE)
def test_a_large_models_memory_is_told_for_eight_gpus(
    name: str, shape: str, parameters: int, gib: tuple[float, ...], tmp_path: Path
) -> None:
    assert PUBLISHED[shape].parameters == parameters
    found = peaks(name, shape, 80, tmp_path)
    assert tuple(round(found[stage], 1) for stage in STAGES) == gib


@pytest.mark.parametrize("shape", PUBLISHED.values(), ids=PUBLISHED)
def test_the_shapes_are_those_of_the_whole_model_on_the_meta_device(shape: Shape) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(shape.config())
    tensors = {name: tuple(tensor.shape) for name, tensor in whole.named_parameters()}
    assert language_model(shape.settings) == tensors


def test_scorings_peak_is_its_check_in_float32_where_a_gpu_has_room_for_it(tmp_path: Path) -> None:
    def scored(gib: int, prompts: int) -> Memory:
        folder = tmp_path / f"{gib}-{prompts}"
        folder.mkdir()
        change = f"annotation.resources.agreement_prompts={prompts}"
        return taken("gemma2-2b-it-simpo", "gemma-2-2b", gib, folder, change)["scores"]

    plain, checked, small = scored(80, 0), scored(80, 64), scored(24, 64)
    assert (
        checked.total == pytest.approx(2 * plain.total, rel=1e-2)
        and "scoring takes 15.8 GiB" in checked.says
    )
    assert small.total == plain.total and "no check in float32" in small.says

"""The configs for one GPU: what `onpolicy plan` says of them is what they and the docs say."""

import json
import re
from pathlib import Path

import pytest
from checkout import CHECKOUT

from benchmarks.support.shapes import PUBLISHED, Shape
from contracts.config.base import load_config
from flows.forecast.plan import forecast
from flows.pipeline.config import RunConfig

PAGE = (CHECKOUT / "docs" / "install.md").read_text()
# Config, shape of its policy, the GPU's GiB.
MACHINES = [
    ("gemma2-2b-it-lora", "gemma-2-2b", 24),
    ("gemma2-2b-it-simpo", "gemma-2-2b", 80),
    ("gemma2-9b-it-qlora", "gemma-2-9b", 80),
    ("gemma2-9b-it-simpo", "gemma-2-9b", 80),
]
STAGES = ("responses", "scores", "policy")


def model(folder: Path, shape: Shape) -> str:
    """A folder that has as much of a model as a forecast reads."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(shape.settings))
    (folder / "model.safetensors").touch()
    return str(folder)


def peaks(name: str, shape: str, gib: int, folder: Path) -> dict[str, float]:
    """GiB by stage."""
    policy = model(folder / "policy", PUBLISHED[shape])
    reward = model(folder / "reward", PUBLISHED["llama-3-8b"])
    overrides = [f"policy.path={policy}", f"annotation.annotators.0.path={reward}",
                 "evaluation.judges=[]", "evaluation.benchmarks=[]", "date=2026-01-01"]  # fmt: skip
    config = load_config(RunConfig, CHECKOUT / "configs" / f"{name}.yaml", overrides)
    told = forecast(config, rates={}, prompt=300, answer=500, gpu_gib=gib)
    taken = {stage.path: stage.memory for stage in told.stages if stage.memory}
    return {stage: taken[f"round-1/{stage}"].total / (1 << 30) for stage in STAGES}


@pytest.mark.parametrize(("name", "shape", "gib"), MACHINES)
def test_a_config_fits_its_gpu_and_says_what_is_planned(
    name: str, shape: str, gib: int, tmp_path: Path
) -> None:
    found = peaks(name, shape, gib, tmp_path)
    # CUDA's context and libraries take up to 2 GiB beside it, and a 24 GB card shows 23.5 or so.
    assert max(found.values()) < gib - 2
    shown = [f"{found[stage]:.1f}" for stage in STAGES]
    assert re.search(rf"\| `{name}` \| [^|]+ \| {re.escape(' | '.join(shown))} \|", PAGE)
    text = (CHECKOUT / "configs" / f"{name}.yaml").read_text()
    told = "   ".join(f"{stage} {value}" for stage, value in zip(STAGES, shown, strict=True))
    assert told in text

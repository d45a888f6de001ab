"""`dtype: auto` is one name for a policy and a kind of GPU, and the one that vLLM would take."""

import ast
import logging
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from generation import sample
from generation.config import SampleConfig
from generation.engines.dtype import auto_of, resolved
from runtime import device
from runtime.device import supported_dtypes

H100, T4, MAXWELL, CPU = (9, 0), (7, 5), (5, 2), None
MODELS = ("llama", "gemma2", "gemma3", "gemma3_text", "glm4", "qwen3")


@pytest.mark.parametrize(
    ("capability", "weights", "dtype"),
    [
        (H100, "bfloat16", "bfloat16"), (H100, "float16", "float16"), (H100, "float32", "bfloat16"),
        (H100, None, "bfloat16"), (T4, "bfloat16", "float16"), (T4, "float32", "float16"),
        (MAXWELL, "bfloat16", "float32"), (CPU, "bfloat16", "float32"),
    ],
)  # fmt: skip
def test_auto_is_decided_by_the_weights_and_the_gpus_capability(
    capability: tuple[int, int] | None, weights: str | None, dtype: str
) -> None:
    supported = supported_dtypes(capability)
    for settings in (
        {"dtype": weights},
        {"torch_dtype": weights},
        {"text_config": {"dtype": weights}},
    ):
        assert auto_of({"model_type": "llama", **settings}, supported) == dtype


def vllms_own() -> Any:
    """vLLM's `_resolve_auto_dtype`, cut out of its source: importing vLLM takes many seconds."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    tree = ast.parse(Path(spec.origin).with_name("config").joinpath("model.py").read_text())
    wanted = {"_resolve_auto_dtype", "_is_valid_dtype", "_FLOAT16_NOT_SUPPORTED_MODELS"}
    tree.body = [node for node in tree.body if _name(node) in wanted]
    platform = SimpleNamespace(get_device_name=str, get_device_capability=lambda: None)
    space: dict[str, Any] = {
        "torch": torch, "current_platform": platform, "logger": logging.getLogger("test"),
    }  # fmt: skip
    exec(compile(tree, spec.origin, "exec"), space)
    return space


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return getattr(node, "name", "")


@pytest.mark.parametrize("capability", [H100, T4])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "float16"])
def test_auto_is_what_vllm_would_make_of_it(
    capability: tuple[int, int], model: str, weights: str
) -> None:
    supported = supported_dtypes(capability)
    vllm = vllms_own()
    vllm["current_platform"].supported_dtypes = [getattr(torch, name) for name in supported]
    theirs = vllm["_resolve_auto_dtype"](model, getattr(torch, weights), is_pooling_model=False)
    ours = auto_of({"model_type": model, "dtype": weights}, supported)
    assert getattr(torch, ours) == theirs


def test_gpus_that_resolve_auto_otherwise_make_other_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = set()
    for found in (H100, T4, CPU):
        monkeypatch.setattr(device, "capability", lambda found=found: found)
        seen.add(sample.STAGE.here(SampleConfig())["`dtype: auto`"])
    assert len(seen) == 3


def test_the_engine_is_told_a_name(tiny_gemma: Path) -> None:
    on_cpu = "float32" if device.capability() is None else "bfloat16"
    assert resolved("auto", str(tiny_gemma)) == on_cpu
    assert resolved("float16", str(tiny_gemma)) == "float16"

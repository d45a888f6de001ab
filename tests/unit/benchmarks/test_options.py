"""What the benchmarks that run on a GPU are asked, and that unasked they stay on the CPU."""

import importlib
from typing import Any

import pytest

from benchmarks.support.options import device_of, shape_of
from benchmarks.support.shapes import PUBLISHED, tiny_gemma
from benchmarks.support.training_contestant import Settings

COUNTS: dict[str, dict[str, int]] = {
    "train_throughput": {"steps": 20, "batch": 4, "trl_micro": 2, "micro_tokens": 4096},
    "train_memory": {"steps": 4, "batch": 2, "trl_micro": 1, "micro_tokens": 4096},
    "train_mfu": {"steps": 10, "batch": 4, "micro_tokens": 4096},
    "annotation_vs_recipe": {"prompts": 32},
    "annotation_limit": {"prompts": 32},
    "annotation_input": {"prompts": 16},
    "annotation_engines": {"prompts": 32},
    "generation_overhead": {"prompts": 512},
}
SHAPES = {"train": "gemma-2-9b-width", "annotation": "llama-3-8b", "generation": "gemma-2-2b"}


def asked(name: str, *arguments: str) -> dict[str, Any]:
    return vars(importlib.import_module(f"benchmarks.{name}").options(arguments))


@pytest.mark.parametrize("name", COUNTS)
def test_a_benchmark_that_is_asked_nothing_runs_its_tiny_shape_in_float32_on_the_cpu(
    name: str,
) -> None:
    found = asked(name)
    assert (found["device"], found["dtype"], found["shape"]) == ("cpu", "float32", "tiny")
    assert found | COUNTS[name] == found


@pytest.mark.parametrize("name", COUNTS)
def test_each_takes_a_device_a_dtype_a_shape_and_its_counts(name: str) -> None:
    shape = SHAPES[name.partition("_")[0]]
    counts = {key: number + 1 for number, key in enumerate(COUNTS[name])}
    given = [f"--{key.replace('_', '-')}={value}" for key, value in counts.items()]
    found = asked(name, "--device=cuda", "--dtype=bfloat16", f"--shape={shape}", *given)
    expected = {"device": "cuda", "dtype": "bfloat16", "shape": shape, **counts}
    assert found | expected == found


@pytest.mark.parametrize("wrong", ["--batch=0", "--shape=llama-3-8b", "--step=3", "--device=tpu"])
def test_what_a_benchmark_does_not_know_it_refuses(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        asked("train_mfu", wrong)
    assert wrong.partition("=")[0] in capsys.readouterr().err


def test_a_gpu_that_is_not_here_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = importlib.import_module("benchmarks.train_mfu").options(["--device=cuda"])
    with pytest.raises(SystemExit, match="no CUDA device"):
        device_of(options)


def test_the_shape_is_the_benchmarks_own_or_the_one_asked_for() -> None:
    module, tiny = importlib.import_module("benchmarks.train_mfu"), tiny_gemma()
    assert shape_of(module.options([]), tiny) == tiny
    assert shape_of(module.options(["--shape=gemma-2-2b"]), tiny) == PUBLISHED["gemma-2-2b"]


def test_on_a_gpu_activations_are_recomputed_and_two_steps_warm_up() -> None:
    here, there = Settings(6, 4, 2), Settings(6, 4, 2, device="cuda", dtype="bfloat16")
    assert (here.checkpointing, here.warm_up) == (False, 1)
    assert (there.checkpointing, there.warm_up) == (True, 2)


def test_so_few_steps_that_none_is_timed_are_refused() -> None:
    Settings(2, 4, 2).refuse_untimed(2)
    with pytest.raises(SystemExit, match="--steps 2: take 3 or more"):
        Settings(3, 4, 2, device="cuda").refuse_untimed(2)


def test_a_batch_that_trl_cannot_take_in_whole_passes_is_refused() -> None:
    Settings(4, 4, 2).refuse_uneven()
    for batch, micro in ((2, 4), (3, 2)):
        with pytest.raises(SystemExit, match=f"--batch {batch}: take a multiple of --trl-micro"):
            Settings(4, batch, micro).refuse_uneven()


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5"])
def test_a_count_that_is_none_is_refused_in_plain_words(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module("benchmarks.round_vs_recipe").options([f"--passes={number}"])
    assert f"'{number}' is not a positive whole number" in capsys.readouterr().err

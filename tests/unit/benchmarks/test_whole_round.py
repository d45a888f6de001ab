"""A round by stage: how busy the GPU was, and a policy of random weights."""

import sys
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT

from benchmarks.support.device import Device
from benchmarks.support.gpu_use import GpuUse
from benchmarks.support.shapes import tiny_gemma as gemma_of
from benchmarks.whole_round import options, round_config, write_policy
from contracts.models.model import load_tokenizer

SAMPLES = "import time\nfor share in (100, 0) * 600: print(share, flush=True); time.sleep(0.005)"


def test_the_share_of_a_span_is_the_mean_of_its_samples() -> None:
    with GpuUse((sys.executable, "-S", "-c", SAMPLES)) as use:
        started = time.monotonic()
        while use.busy(started, time.monotonic()) in (None, 1.0):
            time.sleep(0.005)
        ended = time.monotonic()
    busy = use.busy(started, ended)
    assert busy and 0.4 < busy < 0.8
    assert use.busy(ended + 100, ended + 200) is None


def test_nothing_is_known_without_nvidia_smi() -> None:
    with GpuUse(("no-such-nvidia-smi",)) as use:
        assert use.busy(0, time.monotonic()) is None


def test_every_id_that_random_weights_may_sample_is_text_of_its_own(
    tmp_path: Path, tiny_gemma: Path
) -> None:
    shape = gemma_of(vocabulary=4000, hidden=128, layers=1)
    device = Device("cpu", "float32")
    policy = write_policy(tmp_path / "policy", shape, device, tiny_gemma)
    tokenizer, before = (load_tokenizer(str(path)) for path in (policy, tiny_gemma))
    assert len(before) < len(tokenizer) == shape.vocabulary
    others = [tokenizer.decode([number]) for number in range(len(before), len(tokenizer))]
    assert all(others) and len(set(others)) == len(others)
    text = "Give me two colours."
    assert tokenizer(text).input_ids == before(text).input_ids


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_round_is_the_demos_in_the_dtype_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.chdir(CHECKOUT)
    asked = options([f"--dtype={dtype}", "--prompts=20", "--batch=8"])
    config = round_config(asked, tmp_path / "policy", tmp_path)
    assert (config.rounds, config.prompts.limit, config.training.global_batch) == (1, 52, 8)
    assert {config.sampling.dtype, config.training.dtype} == {dtype}
    assert config.training.resources.strategy == "none"

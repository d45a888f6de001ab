"""A round by stage: how busy the GPU was, and a policy of random weights."""

from pathlib import Path

import pytest
from checkout import CHECKOUT

from benchmarks.support.device import Device
from benchmarks.support.shapes import tiny_gemma as gemma_of
from benchmarks.whole_round import Cost, busy_share, options, round_config, write_policy
from contracts.models.model import load_tokenizer


def test_a_rounds_share_is_of_the_time_of_all_its_stages() -> None:
    costs = {"prompts": Cost(10, None), "responses": Cost(50, 0.5), "policy": Cost(40, 0.9)}
    assert busy_share(costs) == pytest.approx((25 + 36) / 100)


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

"""What a training will write at its end is asked for at its start: files that save, and room."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from contracts.errors import UserError
from contracts.models.weights import Weights, refuse_other_weights
from contracts.steps.disk_space import refuse_too_full
from training.adapters.merge import merge
from training.config import LoraConfig, TrainConfig, TrainResources
from training.launch.disk_space import checkpoint_bytes, policy_bytes, refuse_no_room, state_bytes
from training.loop.policy import load_policy

GIB = 1 << 30
SMALL = Weights({"model.layers.0.mlp.up_proj.weight": (30, 10), "model.norm.weight": (10,)}, 1240)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0.7}, {"do_sample": False, "top_p": 0.9}],
    ids=str,
)
@pytest.mark.parametrize("loader", ["training", "merge"])
def test_a_generation_config_that_could_not_be_saved_is_refused_at_load(
    loader: str, wrong: dict[str, Any], tiny_gemma: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_gemma, tmp_path / "model"))
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(model), PeftConfig(r=2))
    peft.save_pretrained(tmp_path / "adapter")
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, **wrong}))
    load: dict[str, Callable[[], Any]] = {
        "training": lambda: load_policy(str(model), TrainResources(), torch.float32),
        "merge": lambda: merge(tmp_path / "adapter", tmp_path / "merged", str(model)),
    }
    with pytest.raises(UserError, match=rf"generation_config\.json.*{list(wrong)[-1]}"):
        load[loader]()
    assert not (tmp_path / "merged").exists()


def config(every: int = 2, **more: Any) -> TrainConfig:
    return TrainConfig(dtype="bfloat16", resources=TrainResources(checkpoint_every=every), **more)


def test_a_policy_takes_two_bytes_a_parameter_in_bfloat16_and_four_in_float32() -> None:
    assert policy_bytes(config(), SMALL) == 2 * 310
    assert policy_bytes(TrainConfig(dtype="float32"), SMALL) == 4 * 310


@pytest.mark.parametrize(
    ("steps", "kept"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (99, 2), (None, 2)]
)
def test_at_most_two_checkpoints_of_twelve_bytes_a_parameter_lie_there(
    steps: int | None, kept: int
) -> None:
    assert checkpoint_bytes(config(), SMALL, steps) == kept * 12 * 310
    assert checkpoint_bytes(config(every=0), SMALL, steps) == 0


def test_with_adapters_a_checkpoint_holds_their_parameters_alone() -> None:
    lora = LoraConfig(rank=3, targets=["up_proj"])
    assert checkpoint_bytes(config(lora=lora), SMALL, 3) == 12 * 3 * (30 + 10)


def test_each_policy_that_hands_its_state_on_takes_room_for_that_too(tmp_path: Path) -> None:
    carrying = config(every=0, carry_optimizer=True, schedule_rounds=2)
    assert state_bytes(carrying, SMALL) == 12 * 310
    assert state_bytes(carrying.model_copy(update={"schedule_round": 2}), SMALL) == 0
    huge = Weights({"a": (1 << 40, 1 << 20)}, 0)
    told = "3 policies, optimizer's states and checkpoints take.*training.resources.states_kept"
    with pytest.raises(UserError, match=told):
        refuse_no_room(carrying, huge, tmp_path, None, 3)


def test_states_that_are_removed_again_take_no_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    weights = Weights({"a": (free // (7 * 12),)}, 0)
    carrying = config(every=0, carry_optimizer=True, schedule_rounds=50)
    with pytest.raises(UserError):
        refuse_no_room(carrying, weights, tmp_path, None, 20)
    few = carrying.resources.model_copy(update={"states_kept": 1})
    refuse_no_room(carrying.model_copy(update={"resources": few}), weights, tmp_path, None, 20)


def test_a_disk_without_the_room_is_refused_with_both_sizes(tmp_path: Path) -> None:
    huge = Weights({"a": (1 << 40, 1 << 20)}, 0)
    sizes = r"policy: policy and checkpoints take [\d,.]+ GiB, and .* has [\d,.]+ GiB free"
    with pytest.raises(UserError, match=rf"{sizes};.*checkpoint_every to 0"):
        refuse_no_room(config(), huge, tmp_path / "not" / "there" / "policy", None)
    refuse_no_room(config(), SMALL, tmp_path / "not" / "there", None)


def test_what_lies_in_the_checkpoints_already_is_not_asked_for_again(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    weights = Weights({"a": (free // 24 + GIB // 24,)}, 0)
    asked = config(every=2)
    with pytest.raises(UserError):
        refuse_no_room(asked, weights, tmp_path, None)
    (tmp_path / ".checkpoints").mkdir()
    with (tmp_path / ".checkpoints" / "state").open("wb") as state:
        state.truncate(free)  # takes no room itself
    refuse_no_room(asked, weights, tmp_path, None)


def test_the_folder_need_not_exist_yet(tmp_path: Path) -> None:
    refuse_too_full(tmp_path / "a" / "b", 1, "one byte", "")


def test_a_real_models_parameters_are_counted_from_its_headers(tiny_gemma: Path) -> None:
    weights = refuse_other_weights(str(tiny_gemma))
    model = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    assert weights and weights.parameters == sum(p.numel() for p in model.parameters())

"""Rounds that hand the optimizer's state on are one training."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from pair_rows import row, write_tokens
from safetensors.torch import load_file

from contracts.errors import UserError
from contracts.models.weights import refuse_other_weights
from training import carried
from training.config import LoraConfig, TrainConfig, TrainResources
from training.loop.schedule import Schedule
from training.loop.worker import Job
from training.loop.worker import train as work
from training.tokens.checks import TrainInputs

ROUNDS, PAIRS, BATCH = 3, 16, 8
SETTINGS = TrainConfig(
    learning_rate=1e-3, global_batch=BATCH, resources=TrainResources(strategy="none", threads=1)
)  # fmt: skip
ADAPTERS = LoraConfig(rank=4, alpha=8)


def of_round(number: int, **changes: Any) -> TrainConfig:
    """The settings of one round of `ROUNDS`."""
    carries = {"carry_optimizer": True, "schedule_rounds": ROUNDS, "schedule_round": number}
    return SETTINGS.model_copy(update=carries | changes)


def slices() -> list[list[dict[str, Any]]]:
    """The pairs of each round, placed so that its batches are those of one training over all."""
    rows = [row(number, 1 + number % 6, 1 + number % 4) for number in range(ROUNDS * PAIRS)]
    whole = Schedule(SETTINGS, len(rows))
    drawn = [rows[index] for step in range(whole.steps) for index in whole.batch(step)]
    small = Schedule(SETTINGS, PAIRS)
    order = [index for step in range(small.steps) for index in small.batch(step)]
    found = []
    for first in range(0, len(rows), PAIRS):
        placed = dict(zip(order, drawn[first : first + PAIRS], strict=True))
        found.append([placed[index] for index in range(PAIRS)])
    return found


def trained(job: Job) -> Path:
    """The job's output."""
    AcceleratorState._reset_state()  # a process has one precision
    (job.out / ".checkpoints").mkdir(parents=True, exist_ok=True)
    work(job)
    AcceleratorState._reset_state()
    return job.out


def in_rounds(start: Path, folder: Path, **changes: Any) -> list[Path]:
    """Each round's policy."""
    policies = [start]
    for number, rows in enumerate(slices(), start=1):
        tokens = write_tokens(folder / f"tokens-{number}", policies[-1], rows)
        settings, before = of_round(number, **changes), str(policies[-1])
        goes_on = settings.carry_optimizer and number > 1
        given = {"optimizer": before, **({"base": str(start)} if settings.lora else {})}
        inputs = TrainInputs(tokens=tokens, policy=before, **(given if goes_on else {}))
        state = carried.refuse_other_state(settings, inputs, refuse_other_weights(before))
        job = Job(settings, str(tokens), inputs.base or before, folder / f"policy-{number}")
        if state:
            job = replace(job, state=state.folder, steps_before=state.steps)
        policies.append(trained(job))
    return policies[1:]


def at_once(start: Path, folder: Path, **changes: Any) -> Path:
    """The policy of one training over all pairs."""
    rows = [row(number, 1 + number % 6, 1 + number % 4) for number in range(ROUNDS * PAIRS)]
    tokens = write_tokens(folder / "tokens", start, rows)
    settings = SETTINGS.model_copy(update=changes)
    return trained(Job(settings, str(tokens), str(start), folder / "policy"))


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory, tiny_gemma: Path) -> list[Path]:
    return in_rounds(tiny_gemma, tmp_path_factory.mktemp("rounds"))


def curve(policy: Path) -> list[tuple[str, float]]:
    return [
        (row["name"], row["value"]) for row in pq.read_table(policy / "metrics.parquet").to_pylist()
    ]


@pytest.mark.parametrize("changes", [
    {},
    {"dtype": "bfloat16", "schedule": "linear", "weight_decay": 0.1},
    {"lora": ADAPTERS},
], ids=["float32", "bfloat16, decayed", "adapters"])  # fmt: skip
def test_rounds_that_hand_on_their_state_end_with_the_bytes_of_one_training(
    rounds: list[Path], tiny_gemma: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = at_once(tiny_gemma, tmp_path / "whole", **changes)
    policies = in_rounds(tiny_gemma, tmp_path / "rounds", **changes) if changes else rounds
    found, expected = (load_file(out / "model.safetensors") for out in (policies[-1], whole))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert [point for policy in policies for point in curve(policy)] == curve(whole)


def test_without_their_state_rounds_end_elsewhere(
    rounds: list[Path], tiny_gemma: Path, tmp_path: Path
) -> None:
    forgetful = in_rounds(tiny_gemma, tmp_path, carry_optimizer=False)
    assert curve(forgetful[0]) == curve(rounds[0])
    assert curve(forgetful[-1]) != curve(rounds[-1])
    assert not (forgetful[0] / carried.FOLDER).exists()


def test_the_last_round_of_a_decaying_schedule_keeps_no_state(rounds: list[Path]) -> None:
    assert [(policy / carried.INDEX).exists() for policy in rounds] == [True, True, False]
    assert of_round(ROUNDS, schedule="constant").hands_on


def test_the_learning_rate_rises_once_and_falls_once_over_all_rounds(rounds: list[Path]) -> None:
    rates = [value for out in rounds for name, value in curve(out) if name == "learning_rate"]
    peak = rates.index(max(rates))
    assert peak == 1 and rates[0] == 0.0
    assert sorted(rates[peak:], reverse=True) == rates[peak:]


def test_a_killed_round_goes_on_with_its_own_steps_and_those_before(
    rounds: list[Path], tmp_path: Path
) -> None:
    settings = of_round(2).model_copy(
        update={"resources": TrainResources(strategy="none", threads=1, checkpoint_every=1)}
    )
    tokens = write_tokens(tmp_path / "tokens", rounds[0], slices()[1])
    state = rounds[0] / carried.FOLDER
    job = Job(settings, str(tokens), str(rounds[0]), tmp_path / "policy", None, state, 2)
    trained(job)
    (checkpoint,) = (job.out / ".checkpoints").glob("step-*")  # of the first of two steps
    assert checkpoint.name == "step-00000001"
    for path in [job.out / "model.safetensors", job.out / carried.INDEX]:
        path.unlink()
    trained(job)
    found, expected = (load_file(out / "model.safetensors") for out in (job.out, rounds[1]))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def told(settings: TrainConfig, policy: Path, **inputs: Any) -> str:
    given = {"policy": str(policy), "optimizer": str(policy), **inputs}
    asked = TrainInputs(tokens=policy.parent / "tokens", **given)
    with pytest.raises(UserError) as error:
        carried.refuse_other_state(settings, asked, refuse_other_weights(str(policy)))
    return str(error.value)


def test_a_state_that_is_not_there_is_told_with_the_way_to_it(
    rounds: list[Path], tiny_gemma: Path, tmp_path: Path
) -> None:
    assert "was trained without training.carry_optimizer" in told(of_round(2), tiny_gemma)
    pruned = Path(shutil.copytree(rounds[0], tmp_path / "pruned"))
    shutil.rmtree(pruned / carried.FOLDER)
    assert "state-00000-00000.safetensors is gone, and no round can" in told(of_round(2), pruned)
    (pruned / carried.INDEX).write_text("{}")
    assert "optimizer.json: is damaged" in told(of_round(2), pruned)


def test_a_state_of_another_method_is_refused(rounds: list[Path], tiny_gemma: Path) -> None:
    message = told(of_round(2, lora=ADAPTERS), rounds[0], base=str(tiny_gemma))
    assert (
        "state is one of all weights, and cannot be taken over to train LoRA of rank 4" in message
    )


def test_a_state_of_other_shapes_is_refused_by_the_tensors_name(
    rounds: list[Path], tiny_gemma: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    policy = Path(shutil.copytree(rounds[0], tmp_path / "policy"))
    (path,) = (policy / carried.FOLDER).glob("*.safetensors")
    tensors = load_file(path)
    tensors["weight/policy.model.norm.weight"] = torch.zeros(3)
    save_file(tensors, path)
    carried.describe(of_round(1), 2, policy)
    assert "model.norm.weight [3] instead of [" in told(of_round(2), policy)


def test_a_state_of_another_policy_is_refused(rounds: list[Path]) -> None:
    assert "is not of" in told(of_round(3), rounds[1], optimizer=str(rounds[0]))


def test_a_state_is_for_trainings_that_carry_over(rounds: list[Path]) -> None:
    assert "`optimizer` is for carry_optimizer" in told(SETTINGS, rounds[0])


def test_a_base_is_for_adapters_that_are_carried_over(rounds: list[Path], tiny_gemma: Path) -> None:
    assert "leave it out" in told(of_round(2), rounds[0], base=str(tiny_gemma))
    assert "need the input `base`" in told(of_round(2, lora=ADAPTERS), rounds[0])


def test_a_policys_fingerprint_stands_for_its_state_too(rounds: list[Path]) -> None:
    from contracts.steps.fingerprint import of_files

    files = of_files(rounds[0])
    assert carried.INDEX in files
    assert not any(name.startswith(carried.FOLDER) for name in files)
    assert carried.State.model_validate_json((rounds[0] / carried.INDEX).read_text()).steps == 2


def test_carrying_over_needs_the_number_of_rounds_that_the_schedule_spans() -> None:
    with pytest.raises(ValueError, match="carry_optimizer needs schedule_rounds"):
        TrainConfig(carry_optimizer=True)

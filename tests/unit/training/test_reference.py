"""Reference log-probs: scored once, kept as a table, joined row by row."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_facts import made_facts

from contracts.errors import UserError
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import Result, write_manifest
from contracts.tables.parts import part_path, read_table, write_part
from contracts.tables.schemas import REFERENCE, TOKENS
from training.config import ReferenceConfig, TrainConfig, TrainResources
from training.loop.data import LOGPS, read_pairs, read_reference
from training.loop.reference_worker import score
from training.loop.worker import Job, train
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.with_reference.dpo import DPOConfig
from training.losses.with_reference.kto import KTOConfig
from training.losses.with_reference.ld_dpo import LDDPOConfig
from training.tokens.checks import TrainInputs, refuse_other_reference


def row(number: int) -> dict[str, Any]:
    return {
        "prompt_id": f"p{number}",
        "prompt_ids": [2, *range(10, 12 + number % 7)],
        "chosen_ids": [20 + 2 * ((number + place) % 30) for place in range(1 + number % 6)],
        "rejected_ids": [21 + 2 * ((number + place) % 30) for place in range(1 + number % 4)],
        "chosen_loss_start": 0,
        "rejected_loss_start": 0,
    }


@pytest.fixture
def tokens(tmp_path: Path, tiny_gemma: Path) -> Path:
    """22 pairs in two parts."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    rows = [row(number) for number in range(22)]
    for part, some in enumerate((rows[:9], rows[9:])):
        write_part(folder, part, pa.Table.from_pylist(some, schema=TOKENS), TOKENS)
    facts = {"formatted_for": of_input(str(tiny_gemma))}
    write_manifest(folder, "training.format", Result(22, facts=made_facts(facts)), 0.0)
    return folder


def scored(tokens: Path, policy: Path, out: Path, **resources: Any) -> Path:
    out.mkdir(exist_ok=True)
    config = ReferenceConfig(resources=TrainResources(threads=1, strategy="none", **resources))
    job = {"config": config.model_dump(mode="json"), "tokens": str(tokens), "policy": str(policy),
           "out": str(out)}  # fmt: skip
    (out / ".job.json").write_text(json.dumps(job))
    score(out / ".job.json")
    facts = {"tokens": of_input(str(tokens))}
    write_manifest(out, "training.reference", Result(22, facts=made_facts(facts)), 0.0)
    return out


def test_every_pair_is_scored_in_the_order_of_its_tokens(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    whole = read_table(scored(tokens, tiny_gemma, tmp_path / "whole"))
    alone = read_table(scored(tokens, tiny_gemma, tmp_path / "alone", micro_batch_tokens=1))
    assert whole.schema.equals(REFERENCE)
    assert whole["prompt_id"].to_pylist() == [f"p{number}" for number in range(22)]
    assert whole["chosen_tokens"].to_pylist() == [1 + number % 6 for number in range(22)]
    for side in LOGPS:
        assert whole[side].to_pylist() == pytest.approx(alone[side].to_pylist(), abs=1e-4)


def test_a_part_that_is_there_is_not_scored_again(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    out = scored(tokens, tiny_gemma, tmp_path / "reference")
    first, second = part_path(out, 0), part_path(out, 1)
    kept, bytes_before = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    scored(tokens, tiny_gemma, out)
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == bytes_before


def dpo(tokens: Path, policy: Path, reference: Path, out: Path, loss: Any) -> dict[str, float]:
    """The first step's metrics."""
    (out / ".checkpoints").mkdir(parents=True)
    config = TrainConfig(
        loss=loss, learning_rate=1e-3, global_batch=22,
        resources=TrainResources(strategy="none", threads=1, micro_batch_tokens=60),
    )  # fmt: skip
    train(Job(config, str(tokens), str(policy), out, str(reference)))
    metrics = read_table_of_steps(out / "metrics.parquet")
    return metrics[1]


def read_table_of_steps(path: Path) -> dict[int, dict[str, float]]:
    import pyarrow.parquet as pq

    steps: dict[int, dict[str, float]] = {}
    for item in pq.read_table(path).to_pylist():
        steps.setdefault(item["step"], {})[item["name"]] = item["value"]
    return steps


@pytest.mark.parametrize("loss", [DPOConfig(), LDDPOConfig(alpha=0.3)])
def test_a_policy_that_is_its_own_reference_starts_at_log_two(
    tokens: Path, tiny_gemma: Path, tmp_path: Path, loss: Any
) -> None:
    reference = scored(tokens, tiny_gemma, tmp_path / "reference")
    first = dpo(tokens, tiny_gemma, reference, tmp_path / "policy", loss)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_ktos_divergence_is_of_the_global_batch_whatever_the_passes(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    # Against this reference every log-ratio is above zero, so the divergence matters.
    reference = scored(tokens, tiny_gemma, tmp_path / "reference")
    table = read_table(reference)
    for name in ("chosen_logp", "rejected_logp"):
        lower = pa.array([value - 2 for value in table[name].to_pylist()], pa.float32())
        table = table.set_column(table.column_names.index(name), REFERENCE.field(name), lower)
    for part in reference.glob("part-*"):
        part.unlink()
    write_part(reference, 0, table, REFERENCE)
    first = dpo(tokens, tiny_gemma, reference, tmp_path / "policy", KTOConfig(beta=0.5))
    # Ratios are 2 on both sides and so are both divergences: 1 - s(0) everywhere.
    assert first["loss"] == pytest.approx(0.5, abs=1e-5)


def test_reference_rows_of_other_pairs_are_refused(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    reference = scored(tokens, tiny_gemma, tmp_path / "reference")
    pairs = read_pairs(tokens)
    assert read_reference(reference, pairs).shape == (22, 4)
    with pytest.raises(UserError, match="row of p0 is not of pair p21"):
        read_reference(reference, pairs[::-1])
    with pytest.raises(UserError, match="holds 22 rows, the tokens 21"):
        read_reference(reference, pairs[1:])


def test_a_loss_gets_the_reference_that_it_needs_and_no_other(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    reference = scored(tokens, tiny_gemma, tmp_path / "reference")
    bare = TrainInputs(tokens=tokens, policy=str(tiny_gemma))
    inputs = bare.model_copy(update={"reference": reference})
    refuse_other_reference(TrainConfig(loss=DPOConfig()), inputs)
    with pytest.raises(UserError, match="loss dpo compares with a reference"):
        refuse_other_reference(TrainConfig(loss=DPOConfig()), bare)
    with pytest.raises(UserError, match="loss simpo uses no reference"):
        refuse_other_reference(TrainConfig(loss=SimPOConfig()), inputs)
    other = tmp_path / "other"
    other.mkdir()
    write_part(other, 0, pa.Table.from_pylist([row(1)], schema=TOKENS), TOKENS)
    write_manifest(other, "training.format", Result(1), 0.0)
    with pytest.raises(UserError, match="was made of tokens"):
        refuse_other_reference(
            TrainConfig(loss=DPOConfig()), inputs.model_copy(update={"tokens": other})
        )

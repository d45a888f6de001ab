"""Earlier rounds' pairs among a round's own: how many, which, and marked as what they are."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_facts import made_facts
from minimal_run import config

from contracts.errors import UserError
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import TOKENS
from flows.pipeline.planning.plan import plan
from training import replay
from training.config import ReplayConfig


def tokens(folder: Path, name: str, sizes: list[int]) -> Path:
    """A finished table of tokens, in parts of these sizes."""
    folder.mkdir(parents=True)
    for part, size in enumerate(sizes):
        rows = [
            {"prompt_id": f"{name}-{part}-{row}", "prompt_ids": [2, row], "chosen_ids": [3],
             "rejected_ids": [4], "chosen_loss_start": 0, "rejected_loss_start": 0}
            for row in range(size)
        ]  # fmt: skip
        write_part(folder, part, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
    facts = made_facts({"policy": name, "formatted_for": name})
    write_manifest(folder, "training.format", Result(sum(sizes), facts=facts), Manifest.clock())
    return folder


def replayed(root: Path, out: str, **settings: Any) -> list[dict[str, Any]]:
    """A third round of 8 pairs after one of 30 and one of 10."""
    if not (root / "3").exists():
        for name, sizes in (("1", [20, 10]), ("2", [10]), ("3", [5, 3])):
            tokens(root / name, name, sizes)
    inputs = replay.ReplayInputs(
        tokens=root / "3", earlier={number: root / number for number in ("1", "2")}
    )
    run_once(replay.STAGE, ReplayConfig(**settings), inputs, root / out)
    return read_table(root / out).to_pylist()


def test_the_share_is_of_all_pairs_and_each_says_which_round_it_is_of(tmp_path: Path) -> None:
    rows = replayed(tmp_path, "mixed", share=0.5)
    own = [row for row in rows if row["replayed_from"] is None]
    assert len(rows) == 16 and [row["prompt_id"] for row in own] == [
        *(f"3-0-{n}" for n in range(5)), *(f"3-1-{n}" for n in range(3)),
    ]  # fmt: skip
    assert all(row["prompt_id"].startswith(f"{row['replayed_from']}-") for row in rows[8:])
    assert len({row["prompt_id"] for row in rows}) == 16


def test_the_same_seed_takes_the_same_pairs_and_another_one_others(tmp_path: Path) -> None:
    taken = [
        [row["prompt_id"] for row in replayed(tmp_path, out, share=0.5, seed=seed)]
        for out, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert taken[0] == taken[1] != taken[2]


def test_where_there_are_fewer_pairs_than_the_share_all_are_taken(tmp_path: Path) -> None:
    assert len(replayed(tmp_path, "mixed", share=0.99)) == 8 + 30 + 10
    assert len(replayed(tmp_path, "none", share=0.0)) == 8


def test_the_mixture_is_of_the_policy_that_its_round_trains(tmp_path: Path) -> None:
    replayed(tmp_path, "mixed", share=0.5)
    manifest = read_manifest(tmp_path / "mixed")
    assert manifest
    assert manifest.facts["formatted_for"] == "3" and manifest.facts["own"] == 8
    assert sum(manifest.facts["replayed"].values()) == 8


def test_rounds_from_the_second_on_train_on_the_mixture() -> None:
    run = config(rounds=4, replay={"share": 0.3, "rounds": 2}, training={"loss": {"kind": "dpo"}})
    steps = {step.path: step for step in plan(run)}
    assert "round-1/replay" not in steps
    assert steps["round-1/policy"].reads["tokens"].endswith("round-1/tokens")
    for stage in ("policy", "reference"):
        assert steps[f"round-4/{stage}"].reads["tokens"].endswith("round-4/replay")
    mixing = steps["round-4/replay"]
    assert {name for name in mixing.reads if "earlier" in name} == {"earlier.2", "earlier.3"}
    assert mixing.config.seed == steps["round-4/policy"].config.seed


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_that_leaves_no_pair_of_the_rounds_own_is_told(share: float) -> None:
    with pytest.raises(UserError, match=r"replay\.share"):
        config(replay={"share": share})

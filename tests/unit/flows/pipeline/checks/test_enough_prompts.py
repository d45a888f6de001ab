"""Too few prompts for the rounds are told before the first round is sampled."""

import json
import shutil
from pathlib import Path

import pytest
from checked_config import config
from made_run import made
from typer.testing import CliRunner

from contracts.config.yaml import dump_yaml
from contracts.errors import UserError
from contracts.steps.manifest import Result, write_manifest
from flows.cli.app import app
from flows.pipeline.checks.check import quick_faults, summary
from flows.pipeline.checks.enough_prompts import refuse_empty_round, shortest_round
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import steps_left
from generation.prompts import PromptsFacts

HELD_OUT = {"path": "prompts.jsonl", "test_size": 32}


def run(each: int, rounds: int = 2, limit: int | None = None, **keys: object) -> RunConfig:
    """A run over 96 prompts, of which 32 are held out."""
    lines = [json.dumps({"prompt": f"Say {number}."}) for number in range(96)]
    Path("prompts.jsonl").write_text("\n".join([*lines, lines[0]]))  # one is there twice
    prompts = HELD_OUT | {"limit": limit}
    return config(prompts=prompts, prompts_per_round=each, rounds=rounds, **keys)


@pytest.mark.parametrize("limit", [None, 96])
def test_a_round_that_would_get_no_prompts_is_refused_by_its_keys(
    world: Path, limit: int | None
) -> None:
    (told,) = quick_faults(run(each=64, limit=limit))
    assert told.startswith("prompts_per_round: round 2 gets none of the 64 prompts that it asks")
    assert "there are 64 to train on" in told
    for key in ("`prompts_per_round`", "`rounds`", "`prompts.limit`"):
        assert key in told


def test_the_first_empty_round_is_told_not_the_short_one_before_it(world: Path) -> None:
    (told,) = quick_faults(run(each=50, rounds=4))
    assert "round 3 gets none" in told


def test_a_last_round_with_fewer_prompts_than_asked_is_told_and_not_refused(world: Path) -> None:
    short = run(each=40)
    assert quick_faults(short) == []
    assert "round 2 gets 24 of the 40 prompts" in summary(short)
    Path("run.yaml").write_text(dump_yaml(short.model_dump(mode="json")))
    planned = CliRunner().invoke(app, ["plan", "run.yaml"]).stdout
    assert "Mind that round 2 gets 24 of the 40 prompts" in planned


@pytest.mark.parametrize("keys", [{"rounds": 1}, {"round_prompts": "same"}], ids=str)
def test_rounds_that_have_their_prompts_are_not_told(world: Path, keys: dict[str, object]) -> None:
    enough = run(each=64, **keys)  # type: ignore[arg-type]
    assert shortest_round(enough, steps_left(enough)) is None


def test_a_run_that_ends_before_the_empty_round_is_not_refused(world: Path) -> None:
    late = run(each=64)
    refuse_empty_round(late, steps_left(late, until="pairs"))


def test_on_the_hub_the_limit_alone_is_known(world: Path) -> None:
    away = {"path": "owner/prompts", "test_size": 32}
    unknown = config(prompts=away, prompts_per_round=64, rounds=2)
    assert shortest_round(unknown, steps_left(unknown)) is None
    limited = config(prompts=away | {"limit": 96}, prompts_per_round=64, rounds=2)
    assert shortest_round(limited, steps_left(limited))


def holds(run: RunConfig, train: int) -> None:
    """The run's prompts are made, and so many of them are to train on."""
    out = run.folder / "prompts"
    result = Result(train + 32, facts=PromptsFacts(train=train, test=32))
    write_manifest(out, "generation.prompts", result, started=0.0)


def test_what_the_table_holds_decides_once_it_is_made(world: Path) -> None:
    """Near-duplicates are known only then; the flow looks again before it samples round 1."""
    made_run = made(run(each=30))
    holds(made_run, train=30)
    shutil.rmtree(made_run.folder / "round-2")
    with pytest.raises(UserError, match=r"round 2 gets none of the 30 .* there are 30"):
        refuse_empty_round(made_run, steps_left(made_run))


def test_a_round_that_a_schedule_adds_is_told_on_its_day(world: Path) -> None:
    made_run = made(run(each=32))
    holds(made_run, train=64)
    assert quick_faults(made_run) == []
    (told,) = quick_faults(made_run, steps_left(made_run, next_round=True))
    assert "round 3 gets none of the 32 prompts" in told

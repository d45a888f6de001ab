"""Files of finished stages that were deleted, cut, edited or copied by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_run import made, make, tables
from redo_names import AFTER_PAIRS, WIDER, from_round_1

from contracts.errors import ConfigDrift, UserError
from flows.pipeline.folder import redo
from flows.pipeline.folder.run_folder import claim_run, is_finished, made_anew, refuse_drift


def test_a_stage_deleted_by_hand_is_made_again(settings) -> None:
    run = made(settings())
    before = tables(run.folder)
    shutil.rmtree(run.folder / "round-1/pairs")
    claim_run(run)
    assert make(run) == ["round-1/pairs"]
    assert tables(run.folder) == before and is_finished(run)


def test_stages_deleted_by_hand_may_be_made_by_another_config(settings) -> None:
    run, wider = made(settings()), settings(**WIDER)
    for path in from_round_1(AFTER_PAIRS):
        shutil.rmtree(run.folder / path, ignore_errors=True)
    claim_run(wider)
    assert make(wider) == from_round_1(AFTER_PAIRS)
    assert is_finished(wider)


def test_what_read_from_a_deleted_stage_is_told_before_the_stage_is_made_otherwise(
    settings,
) -> None:
    run = made(settings(rounds=1))
    shutil.rmtree(run.folder / "round-1/pairs")
    with pytest.raises(ConfigDrift) as caught:
        claim_run(settings(rounds=1, **WIDER))
    said = str(caught.value)
    assert "pairs.min_margin: was 0.0, now 0.1" in said
    assert "round-1/tokens: reads from a stage that is made anew" in said
    assert "round-1/policy, round-1/evaluation/responses" in said
    assert "`--redo tokens`" in said
    wider = claim_run(settings(rounds=1, **WIDER), again=["tokens"])
    assert make(wider) == [f"round-1/{name}" for name in AFTER_PAIRS]


def test_a_deleted_stage_that_comes_out_other_is_told_with_all_that_read_it(settings) -> None:
    run = made(settings(rounds=1))
    shutil.rmtree(run.folder / "round-1/pairs")
    with pytest.raises(ConfigDrift, match=r"round-1/tokens: was made by another config"):
        make(run, salt="other packages")
    with pytest.raises(ConfigDrift) as caught:
        refuse_drift(run)
    assert "\n  round-1/tokens: inputs.pairs: was " in str(caught.value)
    assert "round-1/policy, round-1/evaluation/responses" in str(caught.value)


def test_a_damaged_record_is_no_obstacle_to_making_its_stage_anew(settings) -> None:
    run = made(settings())
    for name in ("_step.json", "_manifest.json"):
        (run.folder / "round-1/pairs" / name).write_text("{")
        with pytest.raises(UserError, match="with `--redo round-1/pairs`"):
            is_finished(run)
        claim_run(run, again=["round-1/pairs"])
        make(run)
        assert is_finished(run)


Change = Callable[[Path], object]


CHANGES: list[tuple[Change, str]] = [
    (Path.unlink, "part-00000.parquet is gone"),
    (
        lambda part: part.write_text("cut"),
        "part-00000.parquet was 32 bytes when the stage finished, is 3 now",
    ),
    (lambda part: part.with_name("_step.json").unlink(), "_step.json is gone"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=["gone", "cut", "record"])
def test_a_finished_stage_that_was_changed_since_is_told_and_can_be_made_anew(
    settings, change: Change, told: str
) -> None:
    run = made(settings(rounds=1))
    before = tables(run.folder)
    change(run.folder / "round-1/responses/part-00000.parquet")
    with pytest.raises(UserError) as caught:
        is_finished(run)
    said = str(caught.value)
    assert "files of finished stages are gone or were changed" in said
    assert f"\n  round-1/responses: {told}\n" in said
    assert "Put the files of round-1/responses back as they were, or make" in said
    assert "`--redo round-1/responses`" in said
    claim_run(run, again=["responses"])
    make(run)
    assert is_finished(run) and tables(run.folder) == before


def test_all_that_was_changed_is_told_at_once(settings) -> None:
    run = made(settings())
    for path in ("round-2/policy", "round-1/pairs"):
        (run.folder / path / "part-00000.parquet").unlink()
    with pytest.raises(UserError, match=r"round-1/pairs: [^$]* reads from that: .*round-2/policy"):
        claim_run(run)


def test_of_a_damaged_copy_the_lost_file_is_told_and_not_its_new_name(settings) -> None:
    run = made(settings())
    copied = run.model_copy(update={"name": "copied"})
    shutil.copytree(run.folder, copied.folder)
    (copied.folder / "round-1/pairs/part-00000.parquet").unlink()
    with pytest.raises(UserError) as caught:
        is_finished(copied)
    said = str(caught.value)
    assert "\n  round-1/pairs: part-00000.parquet is gone\n" in said
    assert "was 'test'" not in said and "another `name`" not in said
    assert "`--redo round-1/pairs`" in said


def test_a_lost_file_and_a_changed_key_have_each_their_way_out(settings) -> None:
    run = made(settings())
    (run.folder / "round-2/prompts/part-00000.parquet").unlink()
    with pytest.raises(ConfigDrift) as caught:
        claim_run(settings(**WIDER))
    said = str(caught.value)
    assert "is not what this config makes" in said and "min_margin: was 0.0, now 0.1" in said
    assert "\n  round-2/prompts: part-00000.parquet is gone\n" in said
    assert "Put the files of round-2/prompts back as they were.\nChoose another `name`" in said
    assert "`--redo round-1/pairs --redo round-2/prompts`" in said


def test_a_copied_run_is_finished_where_it_was_copied_to(settings, tmp_path: Path) -> None:
    run = made(settings())
    shutil.copytree(run.folder, tmp_path / "elsewhere" / "test")
    copied = run.model_copy(update={"runs_dir": tmp_path / "elsewhere"})
    before = {path: path.stat().st_mtime_ns for path in copied.folder.rglob("*")}
    assert is_finished(copied)
    assert {path: path.stat().st_mtime_ns for path in copied.folder.rglob("*")} == before


def test_a_record_lies_in_the_run_until_all_is_removed(settings) -> None:
    run = made(settings())
    again = made_anew(run, ["policy"])
    redo.record(run.folder, again, again[:1], "request")
    assert redo.recorded(run.folder) == [step.path for step in again]
    redo.remove_recorded(run.folder)
    assert redo.recorded(run.folder) == []

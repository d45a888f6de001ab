"""A run under a changed config: refused by name, made anew where that is asked for, never both."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from made_run import made, make, tables
from redo_names import AFTER_PAIRS, FASTER, WIDER, from_round_1

from contracts.config.base import load_config
from contracts.errors import ConfigDrift, FolderBusy, UserError
from contracts.steps import lock
from contracts.steps.lock import folder_lock
from contracts.steps.step import claim
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.reuse import take_over
from flows.pipeline.folder.run_folder import claim_run, is_finished, made_anew, settled
from flows.pipeline.planning.plan import plan


def test_a_key_that_nothing_made_depends_on_may_change(settings) -> None:
    run = made(settings(rounds=1))
    for path in ("round-1/policy", "round-1/evaluation"):
        shutil.rmtree(run.folder / path)
    faster = settings(rounds=1, **FASTER)
    assert claim_run(faster).training.learning_rate == 1e-6
    assert load_config(RunConfig, run.folder / "config.yaml") == settled(faster)
    assert make(faster) == [f"round-1/{name}" for name in AFTER_PAIRS[2:]]


def test_a_key_that_finished_stages_were_made_by_is_refused_and_all_of_them_named(
    settings,
) -> None:
    run = made(settings())
    before = tables(run.folder)
    for refused in (claim_run, is_finished):
        with pytest.raises(ConfigDrift) as caught:
            refused(settings(**WIDER))
        said = str(caught.value)
        assert "\n  pairs.min_margin: was 0.0, now 0.1\n" in said
        assert "\n  round-1/pairs: min_margin: was 0.0, now 0.1\n" in said
        assert f"what reads from that: {', '.join(from_round_1(AFTER_PAIRS)[1:])}\n" in said
        assert "Choose another `name`" in said and "with `--redo pairs`" in said
    assert tables(run.folder) == before
    assert load_config(RunConfig, run.folder / "config.yaml") == run


def test_an_unfinished_stage_is_not_begun_anew_in_silence_either(settings) -> None:
    run = made(settings(rounds=1))
    (run.folder / "round-1/policy/_manifest.json").unlink()
    with pytest.raises(ConfigDrift, match="round-1/policy: learning_rate: was 8e-07, now 1e-06"):
        claim_run(settings(rounds=1, **FASTER))


def test_a_stage_of_which_nothing_is_made_yet_may_be_made_by_another_config(settings) -> None:
    run = made(settings(rounds=1))
    for path in ("round-1/policy", "round-1/evaluation"):
        shutil.rmtree(run.folder / path)
    begun = next(step for step in plan(run) if step.path == "round-1/policy")
    claim(begun.stage, begun.config, begun.inputs, begun.out)
    (begun.out / ".journal.jsonl").touch()  # opened, and not a line written
    assert claim_run(settings(rounds=1, **FASTER)).training.learning_rate == 1e-6
    assert make(settings(rounds=1, **FASTER)) == [f"round-1/{name}" for name in AFTER_PAIRS[2:]]


def test_input_that_changed_is_told_like_a_key(settings, tmp_path: Path) -> None:
    run = made(settings())
    (tmp_path / "prompts.jsonl").write_text("List three fruits.")
    with pytest.raises(
        ConfigDrift, match=r"\n  prompts: inputs\.sources\.0: was [^$]*--redo prompts"
    ):
        is_finished(run)


@pytest.mark.parametrize(("name", "removed"), [
    ("pairs", from_round_1(AFTER_PAIRS)),
    ("round-2/tokens", [f"round-2/{name}" for name in AFTER_PAIRS[1:]]),
    ("evaluation/comparison", [f"round-{number}/evaluation/{name}" for number in (1, 2)
                               for name in ("comparison", "verdict")]),
    ("round-2/evaluation", [f"round-2/{name}" for name in AFTER_PAIRS[3:]]),
])  # fmt: skip
def test_a_stage_and_all_that_read_from_it_are_made_anew_and_nothing_else(
    settings, name: str, removed: list[str]
) -> None:
    run = made(settings())
    before = tables(run.folder)
    assert [step.path for step in made_anew(run, [name])] == removed
    assert claim_run(run, again=[name]) == run
    assert not is_finished(run)
    assert tables(run.folder) == {key: before[key] for key in before if key not in removed}
    assert make(run) == removed
    assert tables(run.folder) == before
    assert is_finished(run)


def test_a_changed_key_is_taken_with_the_stage_that_it_changes(settings) -> None:
    run, wider = made(settings()), settings(**WIDER)
    before = tables(run.folder)
    claim_run(wider, again=["pairs"])
    assert load_config(RunConfig, run.folder / "config.yaml") == settled(wider)
    assert make(wider) == from_round_1(AFTER_PAIRS)
    assert is_finished(wider)
    assert tables(run.folder)["round-1/scores"] == before["round-1/scores"]
    assert tables(run.folder)["round-1/policy"] != before["round-1/policy"]


def test_a_changed_key_is_still_refused_where_another_stage_is_redone(settings) -> None:
    run = made(settings())
    with pytest.raises(ConfigDrift, match=r"round-1/pairs: min_margin: was [^$]*--redo pairs"):
        claim_run(settings(**WIDER), again=["policy"])
    assert is_finished(run)


def test_replay_given_to_rounds_that_were_trained_without_is_refused_before_it_is_made(
    settings,
) -> None:
    run = made(settings())
    for refused in (is_finished, claim_run):
        with pytest.raises(ConfigDrift, match=r"\n  replay: was None[^$]*--redo round-2/policy"):
            refused(settings(replay={"share": 0.2}))
    assert load_config(RunConfig, run.folder / "config.yaml") == run
    assert claim_run(settings(rounds=3, **FASTER), again=["policy"])  # a new round has new steps


def test_what_a_loss_no_longer_needs_goes_with_what_it_was_made_from(settings) -> None:
    run = made(settings(training={"loss": {"kind": "dpo"}}))
    assert (run.folder / "round-1/reference").exists()
    claim_run(settings(), again=["tokens"])
    assert not (run.folder / "round-1/reference").exists()


@pytest.mark.parametrize(("name", "message"), [
    ("piars", "did you mean pairs?"),
    ("round-3/pairs", "did you mean round-2/pairs?"),
    ("..", "name one of prompts, "),
    ("", "name one of prompts, "),
])  # fmt: skip
def test_a_stage_that_is_none_is_named_with_those_there_are(
    settings, name: str, message: str
) -> None:
    run = made(settings())
    with pytest.raises(UserError) as caught:
        claim_run(run, again=[name])
    assert message in str(caught.value)
    assert is_finished(run)


def test_a_run_that_is_not_there_has_nothing_to_redo(settings) -> None:
    with pytest.raises(UserError, match=r"there is no run in .*: add `name=`"):
        made_anew(settings(name="nothing"), ["pairs"])


def test_a_redo_killed_anywhere_goes_on_with_the_next_command(
    settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removal of a file in turn is where the kill comes."""
    run, faster, kills = made(settings(rounds=1)), settings(rounds=1, **FASTER), 0
    anew = [f"round-1/{name}" for name in AFTER_PAIRS[2:]]
    kept = {path: text for path, text in tables(run.folder).items() if path not in anew}
    whole = run.folder.with_name("whole")
    run.folder.rename(whole)
    unlink = Path.unlink
    while True:
        left = kills
        shutil.rmtree(run.folder, ignore_errors=True)
        shutil.copytree(whole, run.folder)

        def killed(path: Path, *arguments: Any, **options: Any) -> None:
            nonlocal left
            if ".lock" not in path.name:
                if not left:
                    raise KeyboardInterrupt
                left -= 1
            unlink(path, *arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", killed)
            try:
                claim_run(faster, again=["policy"])
            except KeyboardInterrupt:
                kills += 1
            else:
                break
        assert not is_finished(faster)
        claim_run(faster)
        assert tables(run.folder) == kept
        assert make(faster) == anew
        assert is_finished(faster)
    assert kills >= 3 * len(anew)  # manifest, part and step file of each


def test_the_same_command_goes_on_with_a_redo_that_was_cut_short(settings) -> None:
    faster = settings(rounds=1, **FASTER)
    run = made(settings(rounds=1))
    claim_run(faster, again=["policy"])
    begun = run.folder / "round-1/policy/checkpoint-7"
    begun.mkdir()
    assert made_anew(faster, ["policy"]) == []
    claim_run(faster, again=["policy"])
    assert begun.is_dir()

    other = settings(rounds=1, training={**FASTER["training"], "seed": 42, "epochs": 3})
    assert made_anew(other, ["policy"]), "another config is another request"
    shutil.rmtree(begun)
    make(faster)
    assert made_anew(faster, ["policy"]), "once all is made, it is a new request"


def test_nothing_is_removed_for_a_model_that_the_hub_does_not_give(
    settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    run = made(settings())
    before = tables(run.folder)
    misspelt = {"kind": "classifier", "name": "rm", "path": "owner/misspelt"}
    with pytest.raises(UserError, match="owner/misspelt: HF_HUB_OFFLINE is set"):
        claim_run(settings(annotation={"annotators": [misspelt]}), again=["scores"])
    assert tables(run.folder) == before
    assert is_finished(run)


def test_what_a_record_names_outside_the_run_is_not_removed(settings, tmp_path: Path) -> None:
    run = made(settings())
    (run.folder / ".redo.json").write_text('{"remove": ["../../prompts.jsonl"], "make": []}')
    with pytest.raises(UserError, match=r"'\.\./\.\./prompts\.jsonl' is no stage"):
        claim_run(run)
    assert (tmp_path / "prompts.jsonl").exists()


@pytest.mark.parametrize("name", [".redo.json", ".redo-under-way.json"])
def test_a_record_that_cannot_be_read_is_named_with_the_way_out(settings, name: str) -> None:
    run = made(settings())
    for content in (b"", b"[]", b'{"remove": ["pa', b"\xff"):
        (run.folder / name).write_bytes(content)
        with pytest.raises(UserError, match=r"redo[a-z-]*\.json: is damaged; delete it"):
            claim_run(run, again=["pairs"])


def test_a_stage_that_is_running_is_not_removed(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    run = made(settings())
    with folder_lock(run.folder / "round-1/pairs"), pytest.raises(FolderBusy):
        claim_run(run, again=["round-1/pairs"])
    assert (run.folder / "round-1/pairs/_manifest.json").exists()
    claim_run(run)  # the record holds: it goes on
    assert not (run.folder / "round-1/pairs/_manifest.json").exists()


def test_a_stage_asked_for_by_name_is_made_here_and_not_taken_over(settings) -> None:
    made(settings(name="other"))
    run = made(settings())
    claim_run(run, again=["pairs"])
    steps = {step.path: step for step in plan(run)}
    assert take_over(steps["round-1/pairs"]) is None
    make(settings(rounds=1))
    shutil.rmtree(run.folder / "round-1/evaluation/scores")
    assert take_over(steps["round-1/evaluation/scores"])

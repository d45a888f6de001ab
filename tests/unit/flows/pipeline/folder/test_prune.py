"""Old policies' weights are freed where nothing that is left can ask for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated_run import JUDGED, finished

from contracts.errors import UserError
from contracts.steps.fingerprint import edited_files
from flows.pipeline.checks.check import quick_faults
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.prune import prune, prune_quietly
from flows.pipeline.folder.run_folder import claim_run, is_finished, refuse_drift, steps_left
from runtime.store.finished import push
from runtime.store.objects import Objects

Settings = Callable[..., RunConfig]


def heavy(run: RunConfig) -> list[str]:
    return sorted(path.parts[-3] for path in run.folder.glob("round-*/policy/model.safetensors"))


def test_a_finished_run_keeps_the_last_policy_and_is_as_finished_as_before(
    settings: Settings,
) -> None:
    run = finished(settings(rounds=3))
    assert heavy(run) == ["round-1", "round-2", "round-3"]
    told = prune(run.folder, keep=1, dry_run=True)
    assert "round-1/policy: would free" in told and "2 policies" in told
    assert len(heavy(run)) == 3
    prune(run.folder, keep=1)
    assert heavy(run) == ["round-3"]
    assert prune(run.folder, keep=1).endswith("of 0 policies")


def test_what_was_freed_is_named_where_it_is_read_and_is_no_drift(settings: Settings) -> None:
    run = finished(settings(rounds=2))
    prune(run.folder, keep=1)
    refuse_drift(run)
    assert is_finished(run)
    assert edited_files(run.folder / "round-1" / "policy") == [
        "model.safetensors was freed by `onpolicy prune`"
    ]


def test_what_a_round_that_is_left_reads_stays(settings: Settings) -> None:
    run = finished(settings(rounds=2))
    run = claim_run(run.model_copy(update={"rounds": 3}), again=["round-2/pairs"])
    prune(run.folder, keep=1)
    assert heavy(run) == ["round-1"]


def test_the_newest_policies_are_kept_while_rounds_are_still_to_come(settings: Settings) -> None:
    run = finished(settings(rounds=4))
    longer = claim_run(run.model_copy(update={"rounds": 9, "resources": asking(run, 2)}))
    prune_quietly(longer)
    assert heavy(run) == ["round-3", "round-4"]


def test_a_killed_pruning_harms_no_run_and_is_ended_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(settings(rounds=3))
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", killed_at)
        with pytest.raises(KeyboardInterrupt):
            prune(run.folder, keep=1)
    assert heavy(run) == ["round-1", "round-2", "round-3"]
    refuse_drift(run)
    assert is_finished(run)
    assert "round-1/policy: freed" in prune(run.folder, keep=1) and heavy(run) == ["round-3"]


def killed_at(path: Path, missing_ok: bool = False) -> None:
    raise KeyboardInterrupt(path)


def test_the_optimizers_state_goes_with_the_weights_that_it_is_of(settings: Settings) -> None:
    run = finished(settings(rounds=2))
    states = [run.folder / f"round-{number}/policy/.optimizer" for number in (1, 2)]
    for state in states:
        state.mkdir()
        (state / "state-00000-00000.safetensors").write_bytes(bytes(3 << 30 >> 10))
    assert "round-1/policy: would free 0.00293 GiB" in prune(run.folder, keep=1, dry_run=True)
    prune(run.folder, keep=1)
    assert [state.exists() for state in states] == [False, True]


def test_a_round_whose_policy_was_freed_is_not_removed_to_be_made_anew(settings: Settings) -> None:
    run = finished(settings(rounds=3))
    prune(run.folder, keep=1)

    def told(*again: str) -> list[str]:
        return [line for line in quick_faults(run, steps_left(run, again)) if "freed" in line]

    (line,) = told("round-3/responses")
    assert "round-3/policy is to be made from round-2/policy, whose weights were freed" in line
    assert "`--redo round-1/policy`" in line
    assert told("round-3/evaluation/verdict") == told("round-1/policy") == told() == []


def test_the_policy_that_an_open_gate_may_go_back_to_stays(settings: Settings) -> None:
    run = finished(settings(rounds=4, evaluation=JUDGED, gate={"worse": "ask"}), round_3="worse")
    prune(run.folder, keep=1)
    assert heavy(run) == ["round-2", "round-3"]


def test_a_policy_that_another_run_begins_from_stays(settings: Settings, tmp_path: Path) -> None:
    run = finished(settings(rounds=2))
    other = run.folder.parent / "other"
    other.mkdir()
    (other / "config.yaml").write_text(f"policy: {{path: {run.folder}/round-1/policy}}\n")
    prune(run.folder, keep=1)
    assert heavy(run) == ["round-1", "round-2"]


def test_a_run_frees_nothing_unless_its_config_asks_for_it(settings: Settings) -> None:
    run = finished(settings(rounds=2))
    assert prune_quietly(run) is None and len(heavy(run)) == 2
    told = prune_quietly(run.model_copy(update={"resources": asking(run, 1)}))
    assert told and "round-1/policy" in told and heavy(run) == ["round-2"]


def test_a_policy_stays_until_the_runs_store_has_it(settings: Settings, tmp_path: Path) -> None:
    run = finished(settings(rounds=2))
    (tmp_path / "store").mkdir()
    store = f"file://{tmp_path}/store"
    resources = run.resources.model_copy(update={"store": store, "keep_policies": 1})
    run = run.model_copy(update={"resources": resources})
    assert prune_quietly(run) is None and heavy(run) == ["round-1", "round-2"]
    (tmp_path / "store").rename(tmp_path / "unmounted")
    assert prune_quietly(run) is None
    (tmp_path / "unmounted").rename(tmp_path / "store")
    objects, place = Objects(store), f"{run.name}/round-1/policy"
    push(objects, place, run.folder / "round-1/policy")
    (weights,) = [key for key in objects.sizes(place) if key.endswith(".safetensors")]
    objects.remove([weights])
    assert prune_quietly(run) is None
    push(objects, place, run.folder / "round-1/policy")
    assert prune_quietly(run) and heavy(run) == ["round-2"]


def asking(run: RunConfig, keep: int) -> Any:
    return run.resources.model_copy(update={"keep_policies": keep})


def test_no_run_no_pruning(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run lies here"):
        prune(tmp_path, keep=1)

"""Names that one section of a run's config has from another are checked as it is read."""

from pathlib import Path
from typing import Any

import pytest

from contracts.config.base import check
from contracts.errors import UserError
from flows.pipeline.config import RunConfig

LENGTH = {"kind": "function", "name": "length", "function": "rewards:length"}
TRUTH = {"kind": "function", "name": "truth", "function": "rewards:truth"}
BOTH = {"kind": "ensemble", "name": "both", "members": [{"name": "length"}, {"name": "truth"}]}


def config(*annotators: dict[str, Any], held_out: tuple[Any, ...] = (), **more: Any) -> RunConfig:
    settings = {
        "name": "test",
        "policy": {"path": "owner/policy"},
        "prompts": {"path": "prompts.jsonl", "test_size": 4},
        "sampling": {},
        "annotation": {"annotators": list(annotators)},
        "training": {},
        "evaluation": {"sampling": {}, "annotators": list(held_out)},
    }
    return check(RunConfig, settings | more, origin="run.yaml")


@pytest.mark.parametrize("key", ["store", "cluster"])
def test_a_key_at_the_top_that_belongs_to_the_runs_resources_is_sought_there_first(
    key: str,
) -> None:
    with pytest.raises(UserError, match=rf"did you mean 'resources\.{key}'\?"):
        config(LENGTH, TRUTH, **{key: "s3://bucket/runs"})


def test_a_store_is_no_folder_of_runs() -> None:
    with pytest.raises(UserError, match=r"runs_dir': must be a folder of this machine; .*\.store"):
        config(LENGTH, runs_dir="s3://bucket/runs")
    assert config(LENGTH, runs_dir="runs").runs_dir == Path("runs")


def test_pairs_by_an_annotator_that_nobody_is_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"pairs\.annotator: no .* named 'nope'; .* is length, tru"):
        config(LENGTH, TRUTH, pairs={"annotator": "nope"})
    assert config(LENGTH, TRUTH, pairs={"annotator": "truth"})


def test_a_slip_of_the_pen_in_an_annotators_name_is_answered_with_the_name() -> None:
    with pytest.raises(UserError, match=r"did you mean 'length'\?"):
        config(LENGTH, TRUTH, pairs={"annotator": "lenght"})


def test_with_several_annotators_pairs_and_demonstrations_say_whose_scores_decide() -> None:
    with pytest.raises(UserError) as refused:
        config(LENGTH, TRUTH, demonstrations={})
    assert "pairs.annotator: there are several annotators (length, truth)" in str(refused.value)
    assert "demonstrations.annotator: there are several" in str(refused.value)
    assert config(LENGTH, demonstrations={})


def test_pairs_are_not_made_by_an_annotator_of_the_evaluation_alone() -> None:
    with pytest.raises(UserError, match=r"pairs\.annotator: .*'truth'.* under evaluation\.annot"):
        config(LENGTH, held_out=(TRUTH,), pairs={"annotator": "truth"})


@pytest.mark.parametrize("section", ["annotation", "evaluation"])
def test_an_ensemble_of_a_member_that_nobody_is_is_refused(section: str) -> None:
    ensemble = {**BOTH, "members": [{"name": "length"}, {"name": "trutth"}]}
    lists = {"annotation": ((LENGTH, TRUTH, ensemble), ()),
             "evaluation": ((LENGTH,), (TRUTH, ensemble))}[section]  # fmt: skip
    with pytest.raises(UserError, match=r"ensemble 'both': no annotator is named 'trutth'"):
        config(*lists[0], held_out=lists[1], pairs={"annotator": "length"})


def test_an_ensemble_for_the_evaluation_may_have_members_of_both_lists() -> None:
    settings = config(LENGTH, held_out=(TRUTH, BOTH))
    assert [one.name for one in settings.held_out_annotators] == ["length", "truth", "both"]


def test_held_out_answers_that_are_too_long_are_cut_and_scored() -> None:
    model = {"kind": "classifier", "name": "model", "path": "owner/name"}
    settings = config(LENGTH, model, pairs={"annotator": "length"})
    assert [getattr(one, "too_long", None) for one in settings.held_out_annotators] == [
        None,
        "truncate",
    ]
    assert settings.annotation.annotators[1].too_long == "error"


def test_one_name_for_two_annotators_is_refused_wherever_they_are() -> None:
    with pytest.raises(UserError, match=r"evaluation\.annotators: 'length' is .* annotation\.ann"):
        config(LENGTH, held_out=({**TRUTH, "name": "length"},))
    with pytest.raises(UserError, match=r"evaluation\.annotators: two .* named 'truth'"):
        config(LENGTH, held_out=(TRUTH, TRUTH))

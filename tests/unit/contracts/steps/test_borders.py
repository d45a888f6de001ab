"""A stage's border: what it reads and what it tells, checked where it is crossed."""

import json
from pathlib import Path

import pytest
from workshop import Settings, Workshop

from annotation.pairs import STAGE, PairsInputs
from annotation.scoring.inputs import ScoreInputs
from contracts.errors import UserError
from contracts.steps.facts import Facts, OfPolicy, read_facts
from contracts.steps.manifest import Result
from contracts.steps.step import Stage, run_once


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "source").write_text("what is read")
    return Workshop(tmp_path / "source", tmp_path / "out")


def test_a_missing_input_is_told_with_its_stage_and_what_to_give() -> None:
    told = r"annotation\.pairs: the input `scores` is missing; give the folder of SCORES"
    with pytest.raises(UserError, match=told):
        STAGE.reads({"prompts": "a", "responses": "b"})


def test_an_unknown_and_an_empty_input_are_told_at_once() -> None:
    given = {"prompts": "", "responses": "b", "scores": "c", "score": "d"}
    told = r"`prompts`: is empty; `score` is none of its inputs.*reads `prompts`, `responses`"
    with pytest.raises(UserError, match=told):
        STAGE.reads(given)


def test_nothing_is_written_before_the_inputs_are_checked(workshop: Workshop) -> None:
    with pytest.raises(UserError, match=r"tests\.parts: the input `source` is missing"):
        run_once(workshop.stage(), Settings(), {}, workshop.out)
    assert not workshop.out.exists()


def test_inputs_of_mappings_and_lists_are_named_one_by_one() -> None:
    inputs = ScoreInputs(prompts=Path("p"), responses=Path("r"), models={"armo": "o/m@c"})
    assert inputs.by_name == {"prompts": "p", "responses": "r", "models.armo": "o/m@c"}


def test_inputs_as_json_are_the_same_inputs() -> None:
    inputs = PairsInputs(prompts=Path("p"), responses=Path("r"), scores=Path("s"))
    assert STAGE.reads(json.loads(json.dumps(inputs.plain()))) == inputs


def test_facts_are_read_back_as_far_as_they_are_asked_for(workshop: Workshop) -> None:
    assert read_facts(workshop.out, OfPolicy) is None
    workshop.run()
    assert read_facts(workshop.out, OfPolicy) == OfPolicy(policy="p")
    assert read_facts(workshop.out, Facts) == Facts()


def test_facts_that_an_older_version_lacks_are_named_with_the_way_out(workshop: Workshop) -> None:
    class Newer(OfPolicy):
        prompts: int

    workshop.run()
    told = r"out/_manifest\.json: its facts are of another version \(prompts: .*run again"
    with pytest.raises(UserError, match=told):
        read_facts(workshop.out, Newer)


def test_a_stage_that_tells_other_facts_than_it_says_is_a_bug(tmp_path: Path) -> None:
    stage = Stage(
        "tests.forgetful", 1, Settings, ScoreInputs.__base__, "nothing",
        run=lambda *_: Result(0), facts=OfPolicy,
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"tests\.forgetful"):
        run_once(stage, Settings(), {}, tmp_path)

"""Ensembles by hand."""

import pytest

from annotation.annotators.ensemble import EnsembleConfig
from annotation.config import ScoreConfig
from annotation.scorers.ensemble import combine
from annotation.scorers.protocol import Conversation, Score

TALKS = [Conversation([], ["a", "b"]), Conversation([], ["c"])]


def ensemble(*members: dict, **config: object) -> EnsembleConfig:
    return EnsembleConfig.model_validate({"name": "e", "members": members, **config})


def test_raw_scores_are_weighed_and_their_spread_is_the_disagreement():
    found = {"x": [Score(1.0), Score(2.0), Score(4.0)], "y": [Score(5.0), Score(2.0), Score(0.0)]}
    config = ensemble({"name": "x", "weight": 3}, {"name": "y"})
    scores = combine(config, TALKS, found)
    assert [score.score for score in scores] == [2.0, 2.0, 3.0]
    assert [s.disagreement for s in scores] == pytest.approx([3**0.5, 0.0, 3**0.5])


def test_a_members_own_mean_and_deviation_bring_it_to_scale():
    found = {"x": [Score(110.0)], "y": [Score(0.0)]}
    config = ensemble({"name": "x", "mean": 100, "std": 5}, {"name": "y"})
    assert combine(config, [Conversation([], ["a"])], found) == [Score(1.0, disagreement=1.0)]


def test_z_scores_within_a_prompt_do_not_see_other_prompts():
    found = {
        "x": [Score(1.0), Score(3.0), Score(900.0)],
        "y": [Score(0.1), Score(0.1), Score(5.0)],
    }
    config = ensemble({"name": "x"}, {"name": "y"}, scale="prompt")
    assert [score.score for score in combine(config, TALKS, found)] == [-0.5, 0.5, 0.0]


@pytest.mark.parametrize("scale", ["raw", "prompt"])
def test_what_one_member_could_not_score_has_no_score(scale):
    found = {"x": [Score(1.0), Score(error="too_long: 9"), Score(1.0)], "y": [Score(1.0)] * 3}
    config = ensemble({"name": "x"}, {"name": "y"}, scale=scale)
    first, failed, _ = combine(config, TALKS, found)
    assert first.score is not None
    assert failed == Score(error="member_failed: x: too_long: 9")


def test_a_response_that_a_member_read_in_part_is_marked():
    found = {"x": [Score(1.0), Score(2.0, cut=7)], "y": [Score(1.0), Score(1.0, cut=3)]}
    scores = combine(ensemble({"name": "x"}, {"name": "y"}), [Conversation([], ["a", "b"])], found)
    assert [score.cut for score in scores] == [None, 7]


def test_members_must_be_annotators():
    length = {"kind": "function", "name": "x", "function": "a:b"}
    own = {"kind": "ensemble", "name": "e", "members": [{"name": "x"}, {"name": "z"}]}
    with pytest.raises(ValueError, match="no annotator is named 'z'; there is x"):
        ScoreConfig.model_validate({"annotators": [length, own]})
    with pytest.raises(ValueError, match="must add up to more than 0"):
        ensemble({"name": "x"}, {"name": "y", "weight": -1})

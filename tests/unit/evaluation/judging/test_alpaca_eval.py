"""AlpacaEval's judging against alpaca-eval's own files."""

import json
import math
import re
from pathlib import Path

import pytest
from checkout import CHECKOUT
from judging_files import llm_judge, write_outputs

from evaluation.judging.referees.alpaca_eval import AlpacaEvalReferee, is_switched, preference
from evaluation.judging.referees.benchmarks import SideFiles, read_sides
from evaluation.judging.referees.game import Game, Sides
from runtime.chat_api.completion import Completion

ANNOTATIONS = CHECKOUT.parent / "shared/data/alpaca_eval/annotations/gemma-2b-it.json"
JUDGE = llm_judge("http://127.0.0.1:1")


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    texts = {"Name a fish.": "A cod.", "Name a {output_1}.": "{instruction}", "Same?": "yes"}
    model = write_outputs(tmp_path / "m.json", texts, "mine")
    theirs = {"Name a fish.": "An eel.", "Name a {output_1}.": "none", "Same?": "yes"}
    baseline = write_outputs(tmp_path / "b.json", theirs, "base")
    return read_sides("alpaca_eval", SideFiles(model, baseline))


@pytest.mark.skipif(not ANNOTATIONS.exists(), reason="public annotations are not beside the tree")
def test_the_published_preferences_follow_from_the_published_log_probs() -> None:
    rows = json.loads(ANNOTATIONS.read_text())
    for row in rows:
        first = row["raw_completion"]["logprobs"]["content"][0]["top_logprobs"]
        value = preference({one["token"]: one["logprob"] for one in first})
        assert value is not None
        value = 3 - value if is_switched(row["instruction"]) else value
        assert value == pytest.approx(row["preference"], abs=1e-9)
    assert len(rows) == 805


def test_the_prompt_is_the_packages_word_for_word(sides: Sides) -> None:
    game = AlpacaEvalReferee().games(sides)[0]
    system, user = (message["content"] for message in game.messages)
    assert system.startswith("You are a highly efficient assistant, who evaluates")
    assert '"instruction": """Name a fish.""",' in user
    assert user.endswith("## Best Model Identifier")
    outputs = re.findall(r'"output": """(.*)"""', user)
    expected = ["A cod.", "An eel."]
    assert outputs == (expected if game.order == "model_first" else expected[::-1])


def test_braces_in_an_answer_reach_the_judge_as_they_are(sides: Sides) -> None:
    user = AlpacaEvalReferee().games(sides)[1].messages[1]["content"]
    assert '"""Name a {output_1}."""' in user and '"""{instruction}"""' in user


def test_equal_answers_are_a_tie_that_no_judge_is_asked_for(sides: Sides) -> None:
    game = AlpacaEvalReferee().games(sides)[2]
    assert (game.settled, game.messages) == (1.5, ())


def test_a_name_that_is_not_among_the_likeliest_tokens_has_no_share() -> None:
    assert preference({"m": -0.1, "x": -3.0}) == 1.0
    assert preference({"M": -0.1}) == 2.0
    assert preference({"m": math.log(0.2), "M": math.log(0.6)}) == pytest.approx(1.75)
    assert preference({"The": -0.1}) is None


def test_a_log_prob_that_is_no_number_gives_no_preference() -> None:
    assert preference({"m": math.nan, "M": -1.0}) is None
    assert preference({"m": -1.0, "M": math.nan}) is None
    assert preference({"m": -math.inf, "M": -1.0, "x": math.nan}) == 2.0


@pytest.mark.parametrize(
    ("reply", "order", "score", "hard"),
    [
        (Completion("m", {"m": math.log(0.9), "M": math.log(0.1)}), "baseline_first", 1.1, False),
        (Completion("m", {"m": math.log(0.9), "M": math.log(0.1)}), "model_first", 1.9, False),
        (Completion("M"), "baseline_first", 2.0, True),
        (Completion(" M\n"), "model_first", 1.0, True),
        (Completion("Both are good."), "model_first", None, False),
        (Completion(""), "model_first", None, False),
        (Completion("Both", {"Both": -0.1}), "model_first", None, False),
    ],
)
def test_a_reply_is_a_preference_a_hard_label_or_an_error(reply, order, score, hard) -> None:
    verdict = AlpacaEvalReferee().read(Game("k", order, (), "p"), [reply], JUDGE)
    assert verdict.score == (score if score is None else pytest.approx(score))
    assert verdict.is_hard is hard
    assert (verdict.error is None) == (score is not None)

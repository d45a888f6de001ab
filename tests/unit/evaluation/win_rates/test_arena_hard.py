"""Arena-Hard's figures from its own files: two games a prompt, `>>` three times, equal style."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import UserError
from evaluation.win_rates.arena_hard import Games, arena_hard_win_rate, read_games
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.records import read_rows
from evaluation.win_rates.style import Style, difference, read_styles, style_of, token_count

FEW = Resampling(resamples=200)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judgement(question: str, first: object, second: object) -> dict[str, Any]:
    return {"question_id": question, "games": [{"score": first}, {"score": second}]}


def test_games_are_seen_from_the_model_and_strong_verdicts_count_three_times(
    tmp_path: Path,
) -> None:
    rows = [
        judgement("a", "B>>A", "A>B"),
        judgement("b", "A=B", "B>A"),
        judgement("c", None, "A>B"),
    ]
    games, unjudged = read_games(write(tmp_path / "judgement.jsonl", rows))
    assert games == [Games("a", (1, 1), (3, 1)), Games("b", (0.5, 0), (1, 1))]
    found = arena_hard_win_rate(games, FEW, unjudged)
    assert found.win_rate.value == pytest.approx(100 * 4.5 / 6)
    assert found.position_agreement.value == 50
    assert (found.n, found.unjudged, found.asked) == (2, ["c"], 500)


def test_the_interval_is_over_prompts_not_over_score_rows() -> None:
    rng = np.random.default_rng(0)
    games = [
        Games(str(i), (won, won), (3, 3))
        for i, won in enumerate(map(float, rng.integers(2, size=200)))
    ]
    found = arena_hard_win_rate(games, Resampling(2000)).win_rate
    by_prompt = 100 * 1.96 * 0.5 / 200**0.5
    assert found.high - found.value == pytest.approx(by_prompt, rel=0.15)


def test_a_model_that_wins_by_length_alone_is_even_at_equal_style() -> None:
    rng = np.random.default_rng(1)
    games, own, base = [], {}, {}
    for i in range(400):
        longer = rng.normal(1.0, 1.0)  # longer answers as a rule, and only they win
        own[str(i)], base[str(i)] = (
            Style(int(300 * 2 ** (longer / 2)), 0, 0, 0),
            Style(300, 0, 0, 0),
        )
        won = float(rng.random() < 1 / (1 + np.exp(-2 * longer)))
        games.append(Games(str(i), (won, won), (1, 1)))
    found = arena_hard_win_rate(games, FEW, styles=(own, base))
    assert found.win_rate.value > 70
    assert found.style_controlled
    assert found.style_controlled.low < 50 < found.style_controlled.high


def test_a_models_every_win_is_a_rate_of_100_at_any_style() -> None:
    games = [Games(name, (1, 1), (1, 1)) for name in "abc"]
    styles = {name: Style(100, 1, 0, 0) for name in "abc"}
    found = arena_hard_win_rate(games, FEW, styles=(styles, styles))
    assert found.style_controlled and found.style_controlled.value == 100


def test_style_is_counted_outside_code_and_compared_a_token() -> None:
    text = "# Title\n\n* one\n* **two**\n1. three\n```\n# comment\n- no\n```\n__end__\n"
    assert style_of(text) == Style(token_count(text), headers=1, lists=3, bold=2)
    blockless = "# T\n```\nx = `date`\n# comment\n- item\n```\n"
    assert style_of(blockless).headers == 2, "as the official script counts"
    same = difference(Style(40, 1, 3, 2), Style(80, 2, 6, 4))
    assert same == pytest.approx([-1 / 3, 0, 0, 0])
    assert difference(Style(10, 0, 10, 0), Style(10, 0, 0, 0))[2] == pytest.approx(0.5)


def test_both_layouts_of_answers_are_read_and_counted_by_one_rule(tmp_path: Path) -> None:
    """Whatever tokens a file counts by: its policy's here, GPT's there."""
    old = {"question_id": "a", "choices": [{"turns": [{"content": "# T **x**\n", "token_len": 3}]}]}
    new = {"uid": "b", "messages": [{"role": "assistant", "content": {"answer": "# T **x**\n"}}],
           "metadata": {"token_len": 200}}  # fmt: skip
    styles = read_styles(write(tmp_path / "answers.jsonl", [old, new]))
    assert styles["a"] == styles["b"] == Style(6, 1, 0, 1)
    with pytest.raises(UserError, match="row 1: has no answer as arena-hard's files hold it"):
        read_styles(write(tmp_path / "other.jsonl", [{"question_id": "a", "text": "x"}]))


def test_real_answers_are_counted_about_as_their_files_say(shared_data: Path) -> None:
    path = shared_data / "arena_hard" / "model_answer_sample.jsonl"
    turns = [row["choices"][0]["turns"][0] for row in read_rows(path)]
    assert len(read_styles(path)) == len(turns) == 3
    for turn in turns:
        assert token_count(turn["content"]) == pytest.approx(turn["token_len"], rel=0.2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (judgement("a", ["A>B"], "A>B"), r"row 2: \['A>B'\] is no verdict; there is A>>B"),
        (judgement("a", "A>C", "A>B"), "row 2: 'A>C' is no verdict; there is A>>B, A>B"),
        (
            {"question_id": "a", "games": [{"score": "A>B"}]},
            "row 2: `games` is to be a list of two",
        ),
        (
            judgement("a", "A=B", "A=B") | {"model": "n"},
            "row 2: `model` is 'n', in row 1 'm'",
        ),
        (
            judgement("a", "A=B", "A=B") | {"category": "creative_writing"},
            "row 2: `category` is 'creative_writing', in row 1 'hard_prompt': .*; give each a file",
        ),
        ({"games": []}, "row 2: has neither `question_id` nor `uid`"),
        (judgement("z", "A>B", "A>B"), "row 2: question z was judged before"),
    ],
)
def test_a_row_of_another_shape_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    first = judgement("z", "A=B", "A=B") | {"model": "m", "category": "hard_prompt"}
    path = write(tmp_path / "judgement.jsonl", [first, row])
    with pytest.raises(UserError, match=message):
        read_games(path)


def test_without_a_figure_at_equal_style_the_reason_is_told() -> None:
    games = [Games(str(n), (n % 3 / 2, n % 3 / 2), (1, 1)) for n in range(12)]
    own = {str(n): Style(512, 0, 0, 0) for n in range(12)}
    base = {str(n): Style(100 + n, 0, 0, 0) for n in range(12)}
    found = arena_hard_win_rate(games, FEW, styles=(own, base))
    assert found.style_controlled is None
    assert "at equal style     not known: equal length was not" in "\n".join(found.lines("x"))

"""AlpacaEval's win rates: the leaderboard's, the official package's, and what is refused.

The package's figures were recorded from alpaca-eval 0.6.6 in an environment of its own, on the
very files that these tests make (`alpaca_eval_files`) or read.
"""

import gzip
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import alpaca_eval_files as files
import numpy as np
import pytest

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval.annotations import average_length, read_annotations
from evaluation.win_rates.alpaca_eval.instructions import alpaca_eval, instructions_of
from evaluation.win_rates.alpaca_eval.length_control import (
    Judged,
    LengthControlledRate,
    not_told,
)
from evaluation.win_rates.alpaca_eval.win_rate import (
    BASELINE,
    BASELINE_SHA256,
    JUDGE,
    AlpacaEval,
    alpaca_eval_win_rate,
    not_comparable,
)
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.records import read_csv, read_rows

FEW = Resampling(resamples=50)
# model: (length-controlled with gamed baselines, its standard error, without them, its own)
PACKAGE = {
    "FuseChat-Gemma-2-9B-Instruct": (
        (70.0855253297085, 0.4230412308989592),
        (69.98164921697156, 0.5286866769045292),
    ),
    "gemma-2b-it": (
        (6.280615958540017, 0.17503963933177968),
        (5.174590853338508, 0.3352370065320274),
    ),
}
SMALL = ((69.78129461431783, 2.6355103437071286), (68.73041010896704, 3.1742622907517335))


def small(folder: Path, rows: Any = None, **paths: Path) -> AlpacaEval:
    path = files.write_json(folder / "annotations.json", rows or files.annotations())
    questions = instructions_of(files.write_questions(folder / "questions.json"))
    return alpaca_eval_win_rate(path, questions, FEW, **paths)


def published(folder: Path, model: str) -> dict[str, str]:
    board = folder / "alpaca_eval" / "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    return next(row for row in read_csv(board) if row[""] == model)


def test_length_control_of_a_small_file_is_the_official_packages(tmp_path: Path) -> None:
    difficulty = files.write_difficulty(tmp_path / "difficulty.csv")
    gamed = files.write_csv(tmp_path / "gamed.csv", files.gamed_rows(files.difficulty()))
    for found, (rate, error) in zip(
        (
            small(tmp_path, gamed=gamed, difficulty=difficulty),
            small(tmp_path, difficulty=difficulty),
        ),
        SMALL,
        strict=True,
    ):
        assert found.lc_win_rate and found.lc_win_rate.value == pytest.approx(rate, abs=1e-6)
        assert found.lc_standard_error == pytest.approx(error, abs=1e-6)
        assert found.lc_win_rate.low < rate < found.lc_win_rate.high


def test_the_gamed_file_alone_says_the_difficulties_too(tmp_path: Path) -> None:
    gamed = files.write_csv(tmp_path / "gamed.csv", files.gamed_rows(files.difficulty()))
    difficulty = files.write_difficulty(tmp_path / "difficulty.csv")
    alone, both = small(tmp_path, gamed=gamed), small(tmp_path, gamed=gamed, difficulty=difficulty)
    assert alone == both
    assert alone.regularised


def test_rows_are_joined_by_instruction_whatever_their_order(tmp_path: Path) -> None:
    difficulty = files.write_difficulty(tmp_path / "difficulty.csv")
    rows = files.annotations()
    random.Random(3).shuffle(rows)
    ordered = small(tmp_path, difficulty=difficulty)
    assert small(tmp_path, rows, difficulty=difficulty) == ordered
    by_name = [
        {"instruction": files.instruction(i), "instruction_difficulty": d}
        for i, d in enumerate(files.difficulty())
    ]
    named = files.write_csv(tmp_path / "named.csv", by_name[::-1])
    assert small(tmp_path, difficulty=named) == ordered


def test_raw_win_rate_length_and_standard_error_by_hand(tmp_path: Path) -> None:
    rows = files.annotations()[:4]
    for row, preference in zip(rows, (1.0, 2.0, 1.5, 0), strict=True):  # 0 is an old tie
        row["preference"] = preference
    found = small(tmp_path, rows)
    assert found.win_rate.value == 50
    assert found.standard_error == pytest.approx(100 * math.sqrt(1 / 6) / 2)
    assert found.average_length == sum(len(row["output_2"]) for row in rows) // 4
    assert found.hard_labels == 1
    assert (found.n, found.asked) == (4, 40)
    assert found.lc_win_rate is None
    assert found.not_comparable[:2] == [
        "4 of 40 prompts",
        "100% hard labels in place of probabilities",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": None}, "row 3: `preference` is missing, the judge gave none"),
        ({"preference": math.nan}, "row 3: `preference` is NaN"),
        ({"preference": 0.5}, "row 3: `preference` is 0.5; it goes from 1"),
        ({"preference": 10**400}, "row 3: `preference` is 1000.* and is to be a number"),
        ({"preference": "model"}, "row 3: `preference` is 'model', and is to be a number"),
        ({"output_2": None}, "row 3: `output_2` is null, and is to be a text"),
        ({"generator_2": "another"}, "row 3: `generator_2` is 'another', in row 1 'model'"),
        ({"instruction": "?"}, r"row 3: '\?' is no instruction of .*questions.json; .*--instruct"),
        ({"instruction": files.instruction(0)}, "row 3: .* was judged in row 1 already"),
    ],
)
def test_a_row_that_cannot_count_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    rows = files.annotations()
    rows[2] |= change
    with pytest.raises(UserError, match=rf"annotations\.json: {message}"):
        small(tmp_path, rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"instruction": "a", "outp', "not valid JSON: .*ends too early, as half a file does"),
        ("[]", "holds no row"),
        ('{"instruction": "a"}', "holds one record a line; rename it to annotations.jsonl"),
        ("[3]", r"annotations\.json\[0\]: is no record with named fields"),
        ('[{"preference": ' + "1" * 5000 + "}]", "not valid JSON: Exceeds the limit"),
        ('[{"preference": 1}]', "row 1: `instruction` is missing; there is `preference`"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        alpaca_eval_win_rate(path, alpaca_eval(), FEW)


def test_a_difficulty_that_is_missing_or_foreign_is_named(tmp_path: Path) -> None:
    short = files.write_difficulty(tmp_path / "short.csv", prompts=39)
    with pytest.raises(UserError, match=r"short\.csv: has no difficulty of instruction 39; a"):
        small(tmp_path, difficulty=short)
    long = files.write_difficulty(tmp_path / "long.csv", prompts=41)
    with pytest.raises(UserError, match=r"long\.csv: line 42: `index` is 40; .* 0 to 39"):
        small(tmp_path, difficulty=long)
    (tmp_path / "other.csv").write_text("index,hardness\n0,1\n")
    with pytest.raises(
        UserError, match=r"other\.csv: has no column `instruction_difficulty`, only `ind"
    ):
        small(tmp_path, difficulty=tmp_path / "other.csv")


def test_a_leaderboard_is_no_file_of_difficulties(tmp_path: Path) -> None:
    board = tmp_path / "leaderboard.csv"
    board.write_text(",win_rate,avg_length\nNullModel,76.8,0\n")
    with pytest.raises(UserError, match=r"only `win_rate`, `avg_length`; give .*df_gamed\.csv"):
        small(tmp_path, difficulty=board)


def test_a_models_answers_are_told_from_judgements_of_them(tmp_path: Path) -> None:
    row = {"instruction": files.instruction(0), "output": "a cod", "generator": "mine"}
    with pytest.raises(UserError, match="holds a model's answers, not judgements of them; `onp"):
        small(tmp_path, [row])


def test_length_control_of_too_few_prompts_is_refused(tmp_path: Path) -> None:
    difficulty = files.write_difficulty(tmp_path / "difficulty.csv")
    with pytest.raises(UserError, match="4 judgements: a length-controlled win rate needs at"):
        small(tmp_path, files.annotations()[:4], difficulty=difficulty)


@pytest.mark.parametrize(("wins", "of"), [(0, 20), (1, 20), (20, 20), (3, 40)])
def test_hard_labels_that_hardly_differ_end_no_command(wins: int, of: int) -> None:
    """A fold, or a resample, in which every prompt is lost has no fit."""
    draws = np.random.default_rng(0)
    preference = np.repeat([1.0, 0.0], [wins, of - wins])
    preference = preference[draws.permutation(of)]
    given = Judged(preference, draws.normal(0, 300, of), draws.normal(0, 1, of))
    if reason := not_told(given, None):
        assert wins != 3 and "too few prompts are won, or too few lost" in reason
    else:
        found = LengthControlledRate(given, None).estimate(Resampling(100))
        assert 0 == found.low < found.value < found.high < 30


def test_a_figure_that_the_prompts_do_not_tell_is_told_with_why(tmp_path: Path) -> None:
    rows = [row | {"preference": 1.0} for row in files.annotations()]
    found = small(tmp_path, rows, difficulty=files.write_difficulty(tmp_path / "difficulty.csv"))
    assert found.lc_win_rate is None
    assert "length-controlled  not known: too few prompts are won" in "\n".join(found.lines("95 %"))


@pytest.mark.parametrize("model", PACKAGE)
def test_real_judgements_give_the_leaderboards_figures(
    shared_data: Path, tmp_path: Path, model: str
) -> None:
    folder = shared_data / "alpaca_eval"
    difficulty = folder / "surrogate" / "instruction_difficulty.surrogate.csv"
    values = [float(row["instruction_difficulty"]) for row in read_csv(difficulty)]
    gamed = files.write_csv(tmp_path / "gamed.csv", files.gamed_rows(values))
    path = folder / "annotations" / f"{model}.json"
    row = published(shared_data, model)
    for (rate, error), made in zip(PACKAGE[model], (gamed, None), strict=True):
        found = alpaca_eval_win_rate(path, alpaca_eval(), Resampling(20), made, difficulty)
        assert found.lc_win_rate and found.lc_win_rate.value == pytest.approx(rate, abs=1e-6)
        assert found.lc_standard_error == pytest.approx(error, abs=1e-6)
    assert found.lc_win_rate.value == pytest.approx(
        float(row["length_controlled_winrate"]), abs=0.5
    )
    assert found.win_rate.value == pytest.approx(float(row["win_rate"]), abs=0.01)
    assert found.standard_error == pytest.approx(float(row["standard_error"]), abs=1e-6)
    assert found.average_length == int(row["avg_length"])
    assert (found.n, found.not_comparable) == (805, [])


def test_answers_are_as_long_as_the_leaderboard_says(shared_data: Path) -> None:
    for path in (shared_data / "alpaca_eval" / "model_outputs").glob("*.json"):
        outputs = [row["output"] for row in json.loads(path.read_text())]
        length = average_length(outputs)
        assert length == int(published(shared_data, path.stem)["avg_length"]), path.stem


def test_a_gzipped_file_is_read_like_any_other(tmp_path: Path) -> None:
    rows = json.dumps([{"instruction": "Why?"}]).encode()
    (tmp_path / "questions.json.gz").write_bytes(gzip.compress(rows))
    assert read_rows(tmp_path / "questions.json.gz") == [{"instruction": "Why?"}]


def test_another_baseline_under_the_published_name_is_told(tmp_path: Path) -> None:
    found = replace(
        read_annotations(files.write_json(tmp_path / "a.json", files.annotations()),
                         instructions_of(files.write_questions(tmp_path / "q.json"))),
        baseline=BASELINE, annotators=[JUDGE], hard_labels=0.0,
    )  # fmt: skip
    whole = replace(found, asked=len(found.index))
    assert not_comparable(whole) == ["against other answers than gpt4_1106_preview's"]
    assert not_comparable(replace(whole, baseline_sha256=BASELINE_SHA256)) == []

"""`onpolicy win-rate`: what it prints, as text and as JSON."""

import json
from pathlib import Path

import alpaca_eval_files as files
import pytest
from typer.testing import CliRunner

from contracts.errors import UserError
from flows.cli.app import app


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    annotations = files.write_json(tmp_path / "annotations.json", files.annotations(prompts=30))
    questions = files.write_questions(tmp_path / "questions.json")
    difficulty = files.write_difficulty(tmp_path / "difficulty.csv")
    options = ["--instructions", str(questions), "--difficulty", str(difficulty)]
    return ["win-rate", str(annotations), "--benchmark", "alpaca_eval", *options]


def test_json_holds_both_win_rates_with_their_intervals(command: list[str]) -> None:
    found = json.loads(CliRunner().invoke(app, [*command, "--resamples", "100", "--json"]).output)
    for name in ("win_rate", "lc_win_rate"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert (found["n"], found["asked"]) == (30, 40)
    assert found["average_length"] > 100


def test_text_says_beside_the_figures_what_they_are_not(command: list[str]) -> None:
    printed = CliRunner().invoke(app, [*command, "--resamples", "100"]).output
    assert "model against baseline: 30 of 40 prompts, judged by judge\n" in printed
    assert "not comparable with the leaderboard: 30 of 40 prompts\n" in printed
    assert "fitted without the gamed baselines" in printed


def test_a_released_models_outputs_judged_anew_stand_beside_ones_own(
    command: list[str], tmp_path: Path
) -> None:
    rows = [row | {"generator_2": "gemma-2-9b-it-SimPO"} for row in files.annotations(prompts=30)]
    released = str(files.write_json(tmp_path / "released.json", rows))
    both = [*command, released, "--resamples", "100"]
    printed = CliRunner().invoke(app, both).output
    assert printed.index("model against baseline:") < printed.index("gemma-2-9b-it-SimPO against")
    assert "  published          win rate 65.86 %, length-controlled 72.35 % (Alpaca" in printed
    assert printed.count("published  ") == 1
    found = json.loads(CliRunner().invoke(app, [*both, "--json"]).output)
    assert [one["model"] for one in found] == ["model", "gemma-2-9b-it-SimPO"]


def test_other_benchmarks_files_are_read_too(tmp_path: Path) -> None:
    games = [{"question_id": "a", "games": [{"score": "B>A"}, {"score": "A=B"}]}]
    arena = files.write_json(tmp_path / "arena.json", games)
    answer = {"question_id": "a", "choices": [{"turns": [{"content": "x", "token_len": 3}]}]}
    answers = str(files.write_json(tmp_path / "answers.json", [answer]))
    scores = [{"question_id": 81, "turn": 1, "score": 8}]
    mt_bench = files.write_json(tmp_path / "mt_bench.json", scores)

    def printed(path: Path, *options: str) -> str:
        return CliRunner().invoke(app, ["win-rate", str(path), "--benchmark", *options]).output

    found = printed(arena, "arena_hard", "--answers", answers, answers)
    assert "1 of 500 prompts with a verdict of both games\n" in found
    assert "win rate           75.00 % (95% interval 75.00 to 75.00)\n" in found
    assert "at equal style     not known: too few prompts" in found
    assert "writing            8.00 (95% interval" in printed(mt_bench, "mt_bench")
    assert json.loads(printed(mt_bench, "mt_bench", "--json"))["turns"]["1"]["value"] == 8


def test_a_benchmark_that_is_not_there_is_named(command: list[str]) -> None:
    with pytest.raises(UserError, match="--benchmark 'alpaca': there is alpaca_eval"):
        CliRunner().invoke(app, [*command, "--benchmark", "alpaca"], catch_exceptions=False)

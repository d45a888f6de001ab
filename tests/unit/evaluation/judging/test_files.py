"""The judgements' files are what `onpolicy win-rate` reads, benchmark by benchmark."""

import json
from pathlib import Path

import pytest
from judging_files import llm_judge, write_model_answers, write_outputs, write_questions

from contracts.errors import UserError
from evaluation.judging.answer_files import read_answers, read_outputs, read_question_rows
from evaluation.judging.referees.alpaca_eval import AlpacaEvalReferee
from evaluation.judging.referees.arena_hard import ArenaHardReferee
from evaluation.judging.referees.benchmarks import SideFiles, read_sides
from evaluation.judging.referees.game import Judged, Sides, Verdict, unread
from evaluation.judging.referees.mt_bench import MTBenchReferee
from evaluation.judging.referees.referee import Referee
from evaluation.win_rates.alpaca_eval.annotations import read_annotations
from evaluation.win_rates.alpaca_eval.instructions import instructions_of
from evaluation.win_rates.arena_hard import read_games
from evaluation.win_rates.mt_bench import read_judgements

NONE = unread("x")


def write(folder: Path, referee: Referee, sides: Sides, verdicts: list[Verdict]) -> Path:
    """The one file that such verdicts on the games make."""
    games = referee.games(sides)
    judged = [Judged(game, verdict) for game, verdict in zip(games, verdicts, strict=True)]
    ((name, text),) = referee.files(judged, sides, llm_judge("http://127.0.0.1:1")).items()
    path = folder / Path(name).name
    path.write_text(text)
    return path


def test_alpaca_evals(tmp_path: Path) -> None:
    mine = write_outputs(tmp_path / "m.json", {"One?": "mine", "Two?": "too"}, "mine")
    base = write_outputs(tmp_path / "b.json", {"One?": "base", "Two?": "the base"}, "base")
    sides = read_sides("alpaca_eval", SideFiles(mine, base))
    path = write(tmp_path, AlpacaEvalReferee(), sides, [Verdict(1.25, "m"), NONE])
    found = read_annotations(path, instructions_of(base))
    assert (found.model, found.baseline, found.annotators) == ("mine", "base", ["judge-1"])
    assert found.preference.tolist() == [0.25] and found.asked == 2


def test_arena_hards(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.jsonl", {"q1": ["Why?"], "q2": ["How?"]})
    answers = {"q1": ["x"], "q2": ["y"]}
    mine = write_model_answers(tmp_path / "m.jsonl", answers, "mine")
    base = write_model_answers(tmp_path / "b.jsonl", answers, "base")
    sides = read_sides("arena_hard", SideFiles(mine, base, questions))
    verdicts = [Verdict(0.0, "A>>B", 3), Verdict(1.0, "A>B"), NONE, Verdict(0.5, "A=B")]
    (games,), unjudged = read_games(write(tmp_path, ArenaHardReferee(), sides, verdicts))
    assert (games.results, games.weights, unjudged) == ((0.0, 1.0), (3, 1), ["q2"])


def test_arena_hards_answers_are_read_as_its_repository_has_them_today(tmp_path: Path) -> None:
    row = {"uid": "q1", "model": "m", "messages": [{"role": "user", "content": "Why?"},
           {"role": "assistant", "content": {"answer": "So."}}]}  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row))
    found = read_answers(path)
    assert (found.generator, found.by_key["q1"].turns) == ("m", ["So."])


def test_mt_benchs(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.jsonl", {"81": ["Write.", "Again."]})
    mine = write_model_answers(tmp_path / "m.jsonl", {"81": ["a", "b"]}, "mine")
    references = write_model_answers(tmp_path / "r.jsonl", {"101": ["r", "s"]}, "gpt-4")
    sides = read_sides("mt_bench", SideFiles(mine, questions=questions, references=references))
    found = read_judgements(write(tmp_path, MTBenchReferee(), sides, [Verdict(8.0, "8"), NONE]))
    assert [(one.question, one.turn, one.score) for one in found] == [(81, 1, 8.0), (81, 2, None)]


@pytest.mark.parametrize("turns", ["hello", None, [3], {"content": "hello"}])
def test_turns_that_are_no_list_of_texts_are_refused_by_their_row(
    tmp_path: Path, turns: object
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"question_id": 1, "choices": [{"turns": turns}], "turns": turns}))
    with pytest.raises(
        UserError, match=r"row 1: needs `question_id` and `choices\[0\].turns`, a l"
    ):
        read_answers(path)
    with pytest.raises(UserError, match="row 1: needs `question_id` and `turns`, a list"):
        read_question_rows(path)


def test_half_a_surrogate_pair_is_refused_by_its_row(tmp_path: Path) -> None:
    answers = {"One?": "whole", "Two?": "half \ud83d"}
    path = write_outputs(tmp_path / "mine.json", answers, "mine")
    with pytest.raises(UserError, match=r"mine\.json\[1\]: a text holds \\ud83d, half of"):
        read_outputs(path)

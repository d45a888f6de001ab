"""Arena-Hard's and MT-Bench's judging, and the prompts of all."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from checkout import CHECKOUT
from judging_files import llm_judge, write_model_answers, write_questions

from contracts.errors import OnPolicyError, UserError
from evaluation.judging.referees import prompt_texts
from evaluation.judging.referees.arena_hard import ArenaHardReferee
from evaluation.judging.referees.benchmarks import SideFiles, read_sides, with_repeats
from evaluation.judging.referees.game import Game, Judged, Sides, Verdict, unread
from evaluation.judging.referees.mt_bench import MTBenchReferee
from runtime.chat_api.completion import Completion

DATA = CHECKOUT.parent / "shared/data"
PROMPTS = CHECKOUT / "evaluation/judging/referees/prompts"
JUDGE = llm_judge("http://127.0.0.1:1")
needs_data = pytest.mark.skipif(not DATA.exists(), reason="public data is not beside the tree")


@needs_data
def test_the_prompts_are_the_published_ones_word_for_word() -> None:
    published = yaml.safe_load((DATA / "arena_hard/judge_config.yaml").read_text())
    ours = json.loads((PROMPTS / "arena_hard_v0.1.json").read_text())
    assert ours["system_prompt"] == published["system_prompt"]
    assert ours["prompt_template"] == published["prompt_template"][0]
    lines = (DATA / "mt_bench/judge_prompts.jsonl").read_text().splitlines()
    fastchat = {row["name"]: row for row in map(json.loads, lines)}
    for name, texts in json.loads((PROMPTS / "mt_bench_single.json").read_text()).items():
        assert texts == {key: fastchat[name][key] for key in texts}


def test_a_prompt_that_was_edited_is_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mt_bench_single.json").write_text("{}")
    monkeypatch.setattr(prompt_texts, "_FOLDER", tmp_path)
    with pytest.raises(OnPolicyError, match="is not the benchmark's own prompt"):
        MTBenchReferee()


@pytest.fixture
def arena(tmp_path: Path) -> Sides:
    questions = write_questions(tmp_path / "q.jsonl", {"q1": ["Why {answer_1}?"], "q2": ["How?"]})
    model = write_model_answers(tmp_path / "m.jsonl", {"q1": ["mine 1"], "q2": ["mine 2"]}, "mine")
    base = write_model_answers(tmp_path / "b.jsonl", {"q1": ["base 1"], "q2": ["base 2"]}, "base")
    return read_sides("arena_hard", SideFiles(model, base, questions))


def test_arena_hard_plays_both_orders_the_baseline_first(arena: Sides) -> None:
    first, second, *_ = ArenaHardReferee().games(arena)
    assert (first.order, second.order) == ("baseline_first", "model_first")
    assert first.messages[1]["content"] == (
        "<|User Prompt|>\nWhy {answer_1}?\n\n<|The Start of Assistant A's Answer|>\nbase 1\n"
        "<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\nmine 1\n"
        "<|The End of Assistant B's Answer|>"
    )
    assert "Answer|>\nmine 1\n<|The End of Assistant A" in second.messages[1]["content"]


@pytest.mark.parametrize(
    ("texts", "order", "score", "weight"),
    [
        (["so [[A>>B]]"], "model_first", 1.0, 3),
        (["so [[A>>B]]"], "baseline_first", 0.0, 3),
        (["so [[A=B]]"], "baseline_first", 0.5, 1),
        (["[[B>A]] and again [[B>A]]"], "baseline_first", 1.0, 1),
        (["well", "[[B<<A]]"], "model_first", 1.0, 3),
        (["[[A>B]] or rather [[B>A]]"], "model_first", None, 1),
        (["[[A><B]]"], "model_first", None, 1),
        (["A is better."], "model_first", None, 1),
    ],
)
def test_arena_hard_reads_one_verdict_for_the_model(texts, order, score, weight) -> None:
    replies = [Completion(text) for text in texts]
    verdict = ArenaHardReferee().read(Game("q", order, (), "p"), replies, JUDGE)
    assert (verdict.score, verdict.weight) == (score, weight)
    assert (verdict.error is None) == (score is not None)


def test_arena_hard_follows_a_judgement_without_verdict_up_in_the_same_conversation(arena) -> None:
    referee = ArenaHardReferee()
    game = referee.games(arena)[0]
    asked = referee.follow_up(game, [Completion("Hm.")])
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert asked[2]["content"] == "Hm."
    assert asked[3]["content"].startswith("continue your judgment and finish by outputting")


def test_arena_hards_file_holds_both_games_and_null_for_no_verdict(arena: Sides) -> None:
    referee = ArenaHardReferee()
    judged = [
        Judged(game, verdict, [Completion("said")])
        for game, verdict in zip(
            referee.games(arena),
            [Verdict(0.0, "A>>B", 3), Verdict(1.0, "A>B"), unread("x"), Verdict(0.5, "A=B")],
            strict=True,
        )
    ]
    ((path, text),) = referee.files(
        judged, arena, llm_judge("http://127.0.0.1:1", model="org/judge")
    ).items()
    assert path == "model_judgment/org_judge/mine.jsonl"
    rows = [json.loads(line) for line in text.splitlines()]
    assert [[game["score"] for game in row["games"]] for row in rows] == [
        ["A>>B", "A>B"],
        [None, "A=B"],
    ]
    assert rows[0]["judge"] == "org/judge" and rows[0]["games"][0]["judgment"] == "said"


@pytest.fixture
def mt_bench(tmp_path: Path) -> Sides:
    questions = tmp_path / "q.jsonl"
    write_questions(questions, {"81": ["Write.", "Again."]})
    with questions.open("a") as file:
        file.write(json.dumps({"question_id": 101, "category": "math", "turns": ["1?", "2?"]}))
    answers = {"81": ["a1", "a2"], "101": ["one", "two"]}
    model = write_model_answers(tmp_path / "m.jsonl", answers, "mine")
    references = write_model_answers(tmp_path / "r.jsonl", {"101": ["r1", "r2"]}, "gpt-4")
    return read_sides("mt_bench", SideFiles(model, questions=questions, references=references))


def test_mt_bench_rates_each_turn_and_gives_references_to_math(mt_bench: Sides) -> None:
    games = MTBenchReferee().games(mt_bench)
    assert [(game.question_id, game.turn, game.prompt) for game in games] == [
        ("81", 1, "single-v1"),
        ("81", 2, "single-v1-multi-turn"),
        ("101", 1, "single-math-v1"),
        ("101", 2, "single-math-v1-multi-turn"),
    ]
    last = games[3].messages[1]["content"]
    assert "### User:\n1?\n\n### Reference answer:\nr1\n" in last
    assert "### User:\n2?\n\n### Assistant A:\ntwo\n" in last
    assert games[0].messages[0]["content"] == "You are a helpful assistant."


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good. Rating: [[8]]", 8.0), ("[[7.5]]", 7.5), ("Rating: [6]", 6.0),
        ("see [3], Rating: [[9]]", 9.0), ("Rating: 9", None), ("[[11]]", None), ("", None),
    ],
)  # fmt: skip
def test_mt_bench_reads_a_rating_from_1_to_10(text: str, score: float | None) -> None:
    verdict = MTBenchReferee().read(Game("81", "alone", (), "p"), [Completion(text)], JUDGE)
    assert verdict.score == score and (verdict.error is None) == (score is not None)


def test_mt_benchs_file_marks_what_has_no_rating_as_fastchat_does(mt_bench: Sides) -> None:
    referee = MTBenchReferee()
    games = referee.games(mt_bench)
    verdicts = [Verdict(8.0), unread("x"), Verdict(7.0), Verdict(6.0)]
    judged = [Judged(game, verdict) for game, verdict in zip(games, verdicts, strict=True)]
    ((path, text),) = referee.files(judged, mt_bench, JUDGE).items()
    rows = [json.loads(line) for line in text.splitlines()]
    assert path == "model_judgment/judge-1_single.jsonl"
    assert [row["score"] for row in rows] == [8.0, -1, 7.0, 6.0]
    assert rows[3]["question_id"] == 101 and rows[3]["turn"] == 2
    assert rows[3]["judge"] == ["judge-1", "single-math-v1-multi-turn"]


def test_the_questions_judged_twice_do_not_depend_on_the_others(arena: Sides) -> None:
    games = ArenaHardReferee().games(arena)
    twice = with_repeats(games, 1)
    assert len(twice) == 6 and twice[:4] == games
    assert {game.repeat for game in twice[4:]} == {1}
    assert {game.question_id for game in twice[4:]} == {
        min(("q1", "q2"), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("half.jsonl", '{"question_id": "q1", "choi', "it ends too early, as half a file does"),
        ("shape.jsonl", '{"question_id": "q1"}\n', "needs `question_id` and `choices"),
        (
            "twice.jsonl",
            2 * '{"question_id": "q1", "choices": [{"turns": ["x"]}]}\n',
            "was answered before",
        ),
        (
            "foreign.jsonl",
            '{"question_id": "other", "choices": [{"turns": ["x"]}]}\n',
            "1 of its 1 answers are to questions that are not in",
        ),
    ],
)
def test_a_bad_file_of_answers_is_refused_with_its_place(tmp_path, arena, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        files = SideFiles(tmp_path / name, tmp_path / "b.jsonl", tmp_path / "q.jsonl")
        read_sides("arena_hard", files)


@pytest.mark.parametrize("turns", [[], ["only one"]])
def test_a_question_with_fewer_turns_than_are_judged_is_refused_with_its_row(
    tmp_path: Path, turns: list[str]
) -> None:
    answers = write_model_answers(tmp_path / "a.jsonl", {"81": ["x"], "82": ["x"]}, "m")
    questions = write_questions(tmp_path / "q.jsonl", {"81": ["One?", "Two?"], "82": turns})
    files = SideFiles(answers, questions=questions, references=answers)
    with pytest.raises(UserError, match=rf"q.jsonl.*2: question 82 has {len(turns)} turns"):
        read_sides("mt_bench", files)


def test_an_answer_without_a_turn_is_missing_whoevers_it_is(tmp_path: Path, arena: Sides) -> None:
    model = write_model_answers(tmp_path / "m.jsonl", {"q1": ["x"], "q2": []}, "mine")
    base = write_model_answers(tmp_path / "e.jsonl", {"q1": [], "q2": ["x"]}, "base")
    sides = read_sides("arena_hard", SideFiles(model, base, tmp_path / "q.jsonl"))
    errors = {str(game.error) for game in ArenaHardReferee().games(sides)}
    assert errors == {
        f"missing: the {side} has no answer to this question" for side in ("model", "baseline")
    }


def test_a_missing_answer_is_a_game_that_cannot_be_played(tmp_path: Path, arena: Sides) -> None:
    model = write_model_answers(tmp_path / "half.jsonl", {"q1": ["x"]}, "mine")
    sides = read_sides("arena_hard", SideFiles(model, tmp_path / "b.jsonl", tmp_path / "q.jsonl"))
    games = ArenaHardReferee().games(sides)
    assert [bool(game.error) for game in games] == [False, False, True, True]
    assert str(games[2].error) == "missing: the model has no answer to this question"

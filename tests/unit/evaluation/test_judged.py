"""From a run's answers over a judge on loopback to win rates with intervals and their gains."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_answers import respond
from judging_files import completion, llm_judge, write_model_answers, write_outputs

from contracts.config.base import check
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from evaluation import answers, judge, judged, questions
from evaluation.config import AnswersConfig, QuestionsConfig, WinRatesConfig
from evaluation.judging.config import BenchmarkName, JudgingConfig, LLMJudge
from evaluation.verdicts.gather import judged_gains

ASKED = 44
FEW = WinRatesConfig(resamples=100)


def rows_of(benchmark: str) -> list[dict[str, Any]]:
    """Questions of which every eleventh is answered by four digits, the others by three."""
    if benchmark == "alpaca_eval":
        return [{"instruction": f"Add {n}.", "dataset": "ab"[n % 2]} for n in range(ASKED)]
    if benchmark == "arena_hard":
        return [{"uid": f"q{n}", "prompt": f"Add {n}.", "cluster": "sums"} for n in range(ASKED)]
    return [{"question_id": 81 + n, "category": "writing", "turns": [f"Add {n}.", "And?"]}
            for n in range(ASKED)]  # fmt: skip


class World:
    """Questions, and two policies' answers to them, as a run's steps leave them."""

    smoke = 4

    def __init__(self, folder: Path, benchmark: BenchmarkName) -> None:
        self.folder, self.benchmark = folder, benchmark
        file = folder / "questions.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(benchmark)))
        own = {"name": benchmark, "path": str(file), "questions_sha256": "any"}
        self.named = {"benchmarks": [own]}
        config = check(QuestionsConfig, self.named, "x")
        run_once(questions.STAGE, config, {"sources": [str(file)]}, folder / "questions")

    def answer(self, policy: str) -> None:
        """ANSWERS of a policy."""
        (self.folder / policy).mkdir()
        asked = read_table(self.folder / "questions").to_pylist()
        texts = {
            f"{row['benchmark']}/{row['question_id']}/{row['turn']}": f"{policy} {place:03d}"
            + "!" * place
            for place, row in enumerate(asked)
        }
        respond(self.folder / policy, asked, texts)
        config = check(AnswersConfig, self.named | {"label": {"generator": policy}}, "x")
        read = {
            "questions": str(self.folder / "questions"),
            "responses": str(self.folder / policy / "responses"),
        }
        run_once(answers.STAGE, config, read, self.folder / policy / "answers")

    def judged_by(self, url: str) -> LLMJudge:
        return llm_judge(url, repeats=4, resources={"smoke": self.smoke})

    def judge(self, policy: str, url: str, **files: Path) -> None:
        """JUDGEMENTS of its answers."""
        config = JudgingConfig(benchmark=self.benchmark, judge=self.judged_by(url))
        read = {name: str(path) for name, path in files.items()}
        read |= {"answers": str(self.folder / policy / "answers")}
        read |= {"asked": str(self.folder / "questions")}
        run_once(judge.STAGE, config, read, self.folder / policy / "judged")

    def win_rates(self, policy: str, before: str | None, **files: Path) -> judged.JudgedBenchmark:
        """WIN_RATES and its one judge's facts."""
        key = f"j/{self.benchmark}"
        read: dict[str, Any] = {
            "questions": str(self.folder / "questions"),
            "answers": str(self.folder / policy / "answers"),
            "judgements": {key: str(self.folder / policy / "judged")},
            "before": {key: str(self.folder / before / "judged")} if before else {},
            "files": {f"{self.benchmark}/{role}": str(path) for role, path in files.items()},
        }
        out = self.folder / policy / "win_rates"
        manifest = run_once(judged.STAGE, FEW, read, out)
        return judged.WinRatesFacts.model_validate(manifest.facts).judged[0]


def test_a_rounds_answers_are_judged_and_their_gain_over_the_round_before_has_an_interval(
    tmp_path: Path, serve: Callable
) -> None:
    world = World(tmp_path, "alpaca_eval")
    texts = {row["instruction"]: "base" for row in rows_of("alpaca_eval")} | {"More?": "never"}
    baseline = write_outputs(tmp_path / "base.json", texts, "base")
    difficulty = tmp_path / "hard.csv"
    lines = [f"{n},{n % 7 - 3}" for n in range(ASKED)]
    difficulty.write_text("index,instruction_difficulty\n" + "\n".join(lines))

    def preferred(question: str) -> bytes:
        """The new policy wins two games in three, the old one every third."""
        model, number = re.findall(r'"""(new|old) (\d+)', question)[0]
        third = int(number) % 3 == 0
        wins = not third if model == "new" else third
        is_first = question.index('"""base') > question.index(f'"""{model}')
        likely, other = ("m", "M") if wins == is_first else ("M", "m")
        return completion(likely, {likely: -0.1, other: -2.4})

    endpoint = serve(preferred)
    for policy in ("old", "new"):
        world.answer(policy)
        world.judge(policy, endpoint.url, baseline=baseline)
    assert len(endpoint.bodies) == 2 * (ASKED + 4)  # four judged twice, and none that was not asked
    found = world.win_rates("new", "old", difficulty=difficulty)
    assert (found.n, found.asked, found.generator, found.baseline) == (ASKED, ASKED, "new", "base")
    assert found.left_out == ""
    rate, gain = found.figures["win_rate"], found.gains["win_rate"]
    assert rate.low < rate.value < rate.high and 55 < rate.value < 70
    assert 0 < gain.low < gain.value < gain.high
    assert found.gains["lc_win_rate"].value > 0 and found.chosen == "lc_win_rate"
    assert found.noise and found.noise.pairs == 4
    assert "another judge: judge-1, there gpt-4-1106-preview" in found.not_comparable
    rows = read_table(tmp_path / "new" / "win_rates").to_pylist()
    assert [(row["figure"], row["part"]) for row in rows][:4] == [
        ("win_rate", "all"), ("lc_win_rate", "all"),
        ("win_rate_gain", "all"), ("lc_win_rate_gain", "all"),
    ]  # fmt: skip
    of_parts = {row["part"].partition(":")[0]: row["n"] for row in rows[4:]}
    assert of_parts == {"category a": 22, "category b": 22} | {
        f"length {n}": 11 for n in range(1, 5)
    }
    read = judged_gains(tmp_path / "new" / "win_rates", "j")
    assert read["alpaca_eval"].value == found.gains["lc_win_rate"].value
    assert judged_gains(tmp_path / "new" / "win_rates", "another") == {}


def test_arena_hard_is_told_plain_and_at_equal_style_over_questions_with_both_games(
    tmp_path: Path, serve: Callable
) -> None:
    world = World(tmp_path, "arena_hard")
    turns = {f"q{n}": [f"base {n}" + " more" * (n % 5)] for n in range(ASKED)}
    baseline = write_model_answers(tmp_path / "base.jsonl", turns, "base")

    def preferred(question: str) -> bytes:
        if "new " not in question:  # the follow-up
            return completion("Who knows.")
        number = int(re.findall(r"new (\d+)", question)[0])
        model_is_a = question.index("new ") < question.index("base ")
        if number == 7 and model_is_a:
            return completion("Who knows.")
        wins = number % 4 > 0
        return completion("My verdict is [[A>B]]" if wins == model_is_a else "So [[B>A]]")

    world.answer("new")
    world.judge("new", serve(preferred).url, baseline=baseline)
    found = world.win_rates("new", None, baseline=baseline)
    assert (found.n, found.asked, found.gains) == (ASKED - 1, ASKED, {})
    assert found.left_out == "judgements without a score: 1 unparsed; over 43 of 44 prompts"
    assert found.figures["win_rate"].value == pytest.approx(100 * 32 / 43)
    assert set(found.figures) == {"win_rate", "style_controlled"}
    assert found.between_orders and found.between_orders.same_side.value == 1


def test_mt_bench_is_told_by_turn_and_category(tmp_path: Path, serve: Callable) -> None:
    world = World(tmp_path, "mt_bench")
    references = write_model_answers(tmp_path / "gpt-4.jsonl", {"101": ["x", "y"]}, "gpt-4")
    rating = {False: "Rating: [[8]]", True: "Rating: [[6]]"}
    endpoint = serve(lambda question: completion(rating["And?" in question]))
    world.answer("new")
    world.judge("new", endpoint.url, references=references)
    found = world.win_rates("new", None)
    assert found.figures["score"].value == 7
    rows = read_table(tmp_path / "new" / "win_rates").to_pylist()
    told = {row["part"]: row["value"] for row in rows}
    assert (told["turn 1"], told["turn 2"], told["category writing"]) == (8, 6, 7)


def test_a_judge_whose_every_answer_is_prose_gives_no_figure_and_says_why(
    tmp_path: Path, serve: Callable
) -> None:
    world = World(tmp_path, "alpaca_eval")
    world.smoke = 0
    texts = {row["instruction"]: "base" for row in rows_of("alpaca_eval")}
    baseline = write_outputs(tmp_path / "base.json", texts, "base")
    world.answer("new")
    world.judge("new", serve(lambda question: completion("Who knows.")).url, baseline=baseline)
    found = world.win_rates("new", None, gamed=baseline)
    assert (found.figures, found.missing) == ({}, {"win_rate": "no judgement has a score"})
    assert found.left_out == "judgements without a score: 44 unparsed; over 0 of 44 prompts"

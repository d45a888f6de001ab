"""MT-Bench's judging: single-answer grading as FastChat does it, each turn by itself.

A rating of 1 to 10 for the first turn, and one for the second with both turns in view; in math,
reasoning and coding beside a reference answer.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from contracts.tables.json_lines import json_line
from evaluation.judging.answer_files import file_name
from evaluation.judging.config import LLMJudge
from evaluation.judging.referees.game import (
    Game,
    Judged,
    NoScore,
    Question,
    Sides,
    Verdict,
    missing,
    unread,
)
from evaluation.judging.referees.prompt_texts import filled, prompt_json, two_messages
from evaluation.judging.referees.referee import Referee
from evaluation.judging.standing import PAPERS_JUDGE, Standing
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import FiguresFiles
from evaluation.win_rates.mt_bench import CATEGORIES, MtBench, mt_bench_scores, read_judgements
from runtime.chat_api.completion import Completion

_PATTERNS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
_NO_RATING = -1
"""What FastChat writes, and leaves out of its means, where a judgement has no rating."""


class MTBenchReferee(Referee):
    """One answer rated by itself, turn by turn."""

    prompt_sha256: ClassVar = "8ebbcd89536dde2ce7bcadfa07f5a1a04cfb1206e8067564da73f7959c9e3d2b"
    has_baseline: ClassVar = False
    categories_with_reference: ClassVar = ("math", "reasoning", "coding")
    scale: ClassVar[tuple[float, float] | None] = None
    points_range: ClassVar = (1.0, 10.0)
    turns_each: ClassVar = 2
    figure: ClassVar = "score"
    published: ClassVar = Standing(
        "mt_bench",
        PAPERS_JUDGE,
        prompt_sha256,
        {"temperature": 0.0, "max_tokens": 2048},
        questions=80,
        judged=80,
        questions_sha256="a06721f0729b009609b21207612509669b329484b642f5726b1d4b942bef194e",
        answered=[f"temperature {one:g}, top_p 1, max_tokens 1024" for one in (0, 0.1, 0.7)],
        # gpt-4-1106-preview's, in SimPO's repository.
        references_sha256="1080679bd7726496044322c2b36eaf89d051f872548c47daab3f621b72282b43",
    )

    def __init__(self) -> None:
        self._texts = prompt_json("mt_bench_single.json", self.prompt_sha256)

    @staticmethod
    def figures(judgements: Path, files: FiguresFiles, resampling: Resampling) -> MtBench:
        """Mean ratings, by turn and by category."""
        return mt_bench_scores(read_judgements(judgements), CATEGORIES, resampling)

    def request(self, judge: LLMJudge) -> dict[str, Any]:
        """Greedy, at most 2,048 tokens (fastchat/llm_judge/common.py)."""
        return {"temperature": judge.temperature or 0.0, "max_tokens": judge.max_tokens or 2048}

    def games(self, sides: Sides) -> list[Game]:
        """Two games for each question, one for each turn."""
        turns = (1, 2)
        return [self._game(question, sides, turn) for question in sides.questions for turn in turns]

    def _game(self, question: Question, sides: Sides, turn: int) -> Game:
        has_reference = question.category in self.categories_with_reference
        prompt = f"single{'-math' if has_reference else ''}-v1{'-multi-turn' if turn == 2 else ''}"
        error = missing(question, sides, needs_baseline=False)
        if has_reference and len(question.reference or []) < turn:
            error = error or NoScore("missing", "there is no reference answer to this question")
        if error:
            return Game(question.key, "alone", (), prompt, turn, error=error)
        answers = sides.model.by_key[question.key].turns
        values = _values(question, answers, turn)
        texts = self._texts[prompt]
        messages = two_messages(texts["system_prompt"], filled(texts["prompt_template"], values))
        return Game(question.key, "alone", messages, prompt, turn)

    def read(self, game: Game, replies: Sequence[Completion], judge: LLMJudge) -> Verdict:
        """The last reply's first rating in double brackets, else in single ones."""
        # As FastChat's `one_score_pattern`, then its `one_score_pattern_backup`.
        match = next((hit for p in _PATTERNS if (hit := p.search(replies[-1].text))), None)
        if match is None:
            return unread("the judgement has no rating such as [[5]]")
        rating = float(match[1])
        if not 1 <= rating <= 10:
            return unread(f"the judgement's rating is {match[1]}, not 1 to 10")
        return Verdict(rating, match[1])

    def files(self, judged: Sequence[Judged], sides: Sides, judge: LLMJudge) -> dict[str, str]:
        """`model_judgment/JUDGE_single.jsonl`: a row a question and turn."""
        rows = [
            {
                "question_id": _number(one.game.question_id),
                "model": sides.model.generator,
                "judge": [judge.model, one.game.prompt],
                "user_prompt": one.game.messages[1]["content"],
                "judgment": one.text or "$ERROR$",
                "score": _NO_RATING if one.verdict.score is None else one.verdict.score,
                "turn": one.game.turn,
                "tstamp": 0.0,
            }
            for one in judged
            if one.game.messages and not one.game.repeat
        ]
        text = "".join(map(json_line, rows))
        return {f"model_judgment/{file_name(judge.model)}_single.jsonl": text}


def _values(question: Question, answers: list[str], turn: int) -> dict[str, str]:
    """What stands in the prompt's places."""
    values = {"question": question.turns[0], "answer": answers[0]}
    for number in range(1, turn + 1):
        if question.reference:
            values[f"ref_answer_{number}"] = question.reference[number - 1]
        if turn == 2:
            values[f"question_{number}"] = question.turns[number - 1]
            values[f"answer_{number}"] = answers[number - 1]
    return values


def _number(key: str) -> int | str:
    """FastChat's ids are numbers."""
    return int(key) if key.isdecimal() else key

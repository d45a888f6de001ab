"""Arena-Hard v0.1's judging, as arena-hard-auto does it.

Two games a question: first the baseline is assistant A, then the model. A judgement without a
verdict is followed up once in the same conversation; two different verdicts in it are none.
`>>` counts three times.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from contracts.chat import Message
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
from evaluation.win_rates.arena_hard import ArenaHard, arena_hard_win_rate, read_games
from evaluation.win_rates.controlled import Controlled, Materials, style_controlled
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import FiguresFiles
from evaluation.win_rates.style import read_styles
from runtime.chat_api.completion import Completion

PROMPT = "arena_hard_v0.1"
_VERDICT = re.compile(r"\[\[([AB<>=]+)\]\]")
_FOR_A = {
    "A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "A<B": (0.0, 1), "A<<B": (0.0, 3),
    "B>>A": (0.0, 3), "B>A": (0.0, 1), "B=A": (0.5, 1), "B<A": (1.0, 1), "B<<A": (1.0, 3),
}  # fmt: skip
"""Score of A and weight, as `load_judgments` of arena-hard-auto counts them (weight=3)."""
_ORDERS = ("baseline_first", "model_first")


class ArenaHardReferee(Referee):
    """Two answers compared, in both orders."""

    prompt_sha256: ClassVar = "c2fc88e8d631bb881fd4d256de50fcad9ab9de418f5de90b49f90ca85adda968"
    has_baseline: ClassVar = True
    scale: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    most_weight: ClassVar = 3
    turns_each: ClassVar = 1
    figure: ClassVar = "win_rate"
    published: ClassVar = Standing(
        "arena_hard",
        PAPERS_JUDGE,
        prompt_sha256,
        {"temperature": 0.0, "max_tokens": 4096},
        questions=500,
        judged=500,
        questions_sha256="1e9b6e7e49393348d592871de3b61f393914cb5ed53cb91dcde939e7a7ae0e00",
        answered=["temperature 0, top_p 1, max_tokens 4096"],
        # gpt-4-0314's in arena-hard-auto, the same at e0a8ea1 and 196f6b8.
        baseline_sha256="787b0905dab4507edae37fc8c2477308834019c013e20e54363d4ada34e2464d",
    )

    def __init__(self) -> None:
        texts = prompt_json(f"{PROMPT}.json", self.prompt_sha256)
        self._system, self._user = texts["system_prompt"], texts["prompt_template"]
        self._follow_up = texts["follow_up"]

    @staticmethod
    def figures(judgements: Path, files: FiguresFiles, resampling: Resampling) -> ArenaHard:
        """The win rate, and the one at equal style where both sides' answers are given."""
        games, unjudged = read_games(judgements)
        styles = None
        if files.answers:
            styles = (read_styles(files.answers[0]), read_styles(files.answers[1]))
        return arena_hard_win_rate(games, resampling, unjudged, styles=styles)

    @staticmethod
    def controlled(materials: Materials, before: Path | None, resampling: Resampling) -> Controlled:
        """The win rate at equal style, where the baseline's answers are there."""
        return style_controlled(materials, resampling)

    def request(self, judge: LLMJudge) -> dict[str, Any]:
        """Greedy, at most 4,096 tokens (judge_config.yaml)."""
        return {"temperature": judge.temperature or 0.0, "max_tokens": judge.max_tokens or 4096}

    def games(self, sides: Sides) -> list[Game]:
        """Two games for each question, one in each order of the answers."""
        return [self._game(q, sides, order) for q in sides.questions for order in _ORDERS]

    def _game(self, question: Question, sides: Sides, order: Any) -> Game:
        if error := missing(question, sides, needs_baseline=True):
            return Game(question.key, order, (), PROMPT, error=error)
        model, baseline = (answer.turns[0] for answer in sides.of(question) if answer)
        first, second = (model, baseline) if order == "model_first" else (baseline, model)
        values = {"question_1": question.turns[0], "answer_1": first, "answer_2": second}
        return Game(
            question.key, order, two_messages(self._system, filled(self._user, values)), PROMPT
        )

    def read(self, game: Game, replies: Sequence[Completion], judge: LLMJudge) -> Verdict:
        """The one verdict in all replies."""
        verdicts = {found for reply in replies for found in _VERDICT.findall(reply.text)}
        if not verdicts:
            return unread("the judgement has no verdict such as [[A>B]]")
        if len(verdicts) > 1:
            contradiction = f"the judgement has the verdicts {', '.join(sorted(verdicts))}"
            return Verdict(error=NoScore("contradicts", contradiction))
        label = verdicts.pop()
        if label not in _FOR_A:
            return unread(f"the judgement's verdict is {label!r}")
        score, weight = _FOR_A[label]
        return Verdict(score if game.order == "model_first" else 1 - score, label, weight)

    def follow_up(self, game: Game, replies: Sequence[Completion]) -> tuple[Message, ...]:
        """The conversation so far, and that it be ended."""
        conversation = list(game.messages)
        for reply in replies:
            conversation.append({"role": "assistant", "content": reply.text})
            conversation.append({"role": "user", "content": self._follow_up})
        return tuple(conversation)

    def files(self, judged: Sequence[Judged], sides: Sides, judge: LLMJudge) -> dict[str, str]:
        """`model_judgment/JUDGE/MODEL.jsonl`: a row a question, with both games."""
        games: dict[str, dict[str, Judged]] = {}
        for one in judged:
            if not one.game.repeat and one.game.messages:
                games.setdefault(one.game.question_id, {})[one.game.order] = one
        rows = [
            {
                "question_id": key,
                "model": sides.model.generator,
                "judge": judge.model,
                "games": [
                    {
                        "user_prompt": orders[order].game.messages[1]["content"],
                        "judgment": orders[order].text,
                        "score": orders[order].verdict.label,
                    }
                    for order in _ORDERS
                ],
            }
            for key, orders in games.items()
        ]
        text = "".join(map(json_line, rows))
        folder = f"model_judgment/{file_name(judge.model)}"
        return {f"{folder}/{file_name(sides.model.generator)}.jsonl": text}

"""AlpacaEval 2's judging, as alpaca-eval 0.6.6 does it (weighted_alpaca_eval_gpt4_turbo).

Two answers named `m` and `M`, their order drawn by the instruction; one token with its five
likeliest alternatives; the preference is 2 minus `m`'s share of the two names' probabilities, then
3 minus that where the order was swapped. Equal answers are 1.5 without a judge.
Other than there: an answer that holds `<|im_end|>` or `{output_2}` reaches the judge whole.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from evaluation.judging.answer_files import Answers, instruction_key, read_outputs
from evaluation.judging.config import LLMJudge
from evaluation.judging.files import AlpacaEvalFiles, JudgingFile, published_file
from evaluation.judging.referees.game import Game, Judged, Sides, Verdict, missing, unread
from evaluation.judging.referees.prompt_texts import filled, prompt_text, two_messages
from evaluation.judging.referees.referee import Referee
from evaluation.judging.standing import PAPERS_JUDGE, Standing
from evaluation.win_rates.alpaca_eval.instructions import alpaca_eval, instructions_of
from evaluation.win_rates.alpaca_eval.win_rate import (
    BASELINE_SHA256,
    AlpacaEval,
    alpaca_eval_win_rate,
)
from evaluation.win_rates.controlled import Controlled, Materials, length_controlled
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import FiguresFiles
from runtime.chat_api.completion import Completion

PROMPT = "alpaca_eval_clf"
_SEED = 0  # the package's own default
_TOP = 5
_ANNOTATORS = {
    "gpt-4-1106-preview": "weighted_alpaca_eval_gpt4_turbo",
    "gpt-4.1": "weighted_alpaca_eval_gpt4.1",
    "gpt-4.1-2025-04-14": "weighted_alpaca_eval_gpt4.1",
}
"""What the package calls these judges under its own decoding; they share one prompt."""


class AlpacaEvalReferee(Referee):
    """Two answers compared, in one order for each question."""

    prompt_sha256: ClassVar = "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62"
    has_baseline: ClassVar = True
    asks_by_baseline: ClassVar = True
    scale: ClassVar[tuple[float, float] | None] = (1.0, 2.0)
    turns_each: ClassVar = 1
    figure: ClassVar = "win_rate"
    published: ClassVar = Standing(
        "alpaca_eval",
        PAPERS_JUDGE,
        prompt_sha256,
        {"temperature": 1.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 5},
        questions=805,
        judged=805,
        questions_sha256="25e2b496a25f001f2d670c9cdc9c204f201fcd41a3b730266017b392130dd008",
        answered=["temperature 0, top_p 1, max_tokens 4096"],
        baseline_sha256=BASELINE_SHA256,
    )

    def __init__(self) -> None:
        self._system, self._user = _chatml(prompt_text(f"{PROMPT}.txt", self.prompt_sha256))

    @staticmethod
    def read_answers(path: Path) -> Answers:
        """AlpacaEval's `model_outputs.json`."""
        return read_outputs(path)

    @staticmethod
    def question_key(question_id: str, text: str) -> str:
        """A hash of the question's text: AlpacaEval's files give it no other name."""
        return instruction_key(text)

    @staticmethod
    def figures(judgements: Path, files: FiguresFiles, resampling: Resampling) -> AlpacaEval:
        """The win rate, and the length-controlled one where a difficulty is given."""
        instructions = instructions_of(files.instructions) if files.instructions else alpaca_eval()
        published = AlpacaEvalFiles()
        gamed = _located(files.gamed, published.gamed)
        difficulty = _located(files.difficulty, published.difficulty)
        return alpaca_eval_win_rate(judgements, instructions, resampling, gamed, difficulty)

    @staticmethod
    def controlled(materials: Materials, before: Path | None, resampling: Resampling) -> Controlled:
        """The length-controlled win rate, where the instructions' difficulties are known."""
        return length_controlled(materials, before, resampling)

    def request(self, judge: LLMJudge) -> dict[str, Any]:
        """One token at temperature 1, for the log-probs of its alternatives."""
        body: dict[str, Any] = {
            "temperature": 1.0 if judge.temperature is None else judge.temperature,
            "max_tokens": judge.max_tokens or 1,
        }
        if judge.logprobs:
            body |= {"logprobs": True, "top_logprobs": _TOP}
        return body

    def games(self, sides: Sides) -> list[Game]:
        """One game for each question."""
        return [self._game(question, sides) for question in sides.questions]

    def _game(self, question: Any, sides: Sides) -> Game:
        instruction = question.turns[0]
        order: Any = "model_first" if is_switched(instruction) else "baseline_first"
        if error := missing(question, sides, needs_baseline=True):
            return Game(question.key, order, (), PROMPT, error=error)
        model, baseline = (answer.turns[0] for answer in sides.of(question) if answer)
        # As alpaca-eval has it; a judge would be paid for a coin's toss.
        if model == baseline:
            return Game(question.key, order, (), PROMPT, settled=1.5)
        first, second = (model, baseline) if order == "model_first" else (baseline, model)
        values = {"instruction": instruction, "output_1": first, "output_2": second}
        messages = two_messages(self._system, filled(self._user, values).strip())
        return Game(question.key, order, messages, PROMPT)

    def read(self, game: Game, replies: Sequence[Completion], judge: LLMJudge) -> Verdict:
        """The last reply's preference."""
        reply = replies[-1]
        if judge.logprobs and reply.top_logprobs:
            first_is_worse = preference(reply.top_logprobs)
            if first_is_worse is None:
                return unread("no log-probs of m or M are among the judge's five likeliest tokens")
            return Verdict(_for_model(game, first_is_worse), reply.text.strip() or None)
        label = reply.text.strip()
        if label not in ("m", "M"):
            return unread(f"the judge's answer is neither m nor M: {label!r:.100}")
        return Verdict(_for_model(game, 1.0 if label == "m" else 2.0), label, is_hard=True)

    def files(self, judged: Sequence[Judged], sides: Sides, judge: LLMJudge) -> dict[str, str]:
        """`annotations.json`, as `alpaca_eval` writes it; it too leaves out what has no score."""
        assert sides.baseline is not None
        is_official = (judge.temperature, judge.max_tokens, judge.logprobs) == (None, None, True)
        fixed = {
            "generator_1": sides.baseline.generator,
            "generator_2": sides.model.generator,
            "annotator": _ANNOTATORS.get(judge.model, judge.model) if is_official else judge.model,
        }
        rows = []
        for one in judged:
            if one.game.repeat or one.verdict.score is None:
                continue
            key = one.game.question_id
            baseline = sides.baseline.by_key[key]
            rows.append(
                {
                    "instruction": baseline.record["instruction"],
                    "dataset": baseline.record.get("dataset"),
                    "output_1": baseline.turns[0],
                    "output_2": sides.model.by_key[key].turns[0],
                    **fixed,
                    "preference": one.verdict.score,
                    "raw_completion": one.text or None,
                }
            )
        # A line a row: `indent` takes ten times as long.
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return {"annotations.json": f"[\n{lines}\n]\n"}


def is_switched(instruction: str) -> bool:
    """Whether the model's answer comes first.

    As `RandomSwitchTwoColumnsProcessor` draws it from the instruction and the seed 0.
    """
    draw = Random("is_switched_outputs" + instruction + str(_SEED))
    return draw.choices([False, True], k=1)[0]


def preference(top_logprobs: dict[str, float]) -> float | None:
    """2 less the share of `m`: 1 where the first answer is better; None without either name, or
    where one's log-prob is no number.

    As `logprob_parser` with numerator `m` and denominator `m`, `M`; a missing name has no share.
    """
    m, other = (top_logprobs.get(name, -math.inf) for name in ("m", "M"))
    highest = max(m, other)
    if highest == -math.inf or math.isnan(m + other):
        return None
    shares = [math.exp(value - highest) for value in (m, other)]
    return 2.0 - shares[0] / sum(shares)


def _for_model(game: Game, value: float) -> float:
    return 3.0 - value if game.order == "model_first" else value


def _chatml(text: str) -> tuple[str, str]:
    """The system's and the user's text of a ChatML file."""
    parts = [part.partition("\n")[2] for part in text.split("<|im_start|>")[1:]]
    system, user = (part.split("<|im_end|>")[0].strip() for part in parts)
    return system, user


def _located(reference: str | None, published: JudgingFile | None) -> Path | None:
    return published_file(reference, published) if reference and published else None

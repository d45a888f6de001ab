"""lm-evaluation-harness with our answers in place of a model. Importing it takes seconds."""

import json
from collections.abc import Sequence
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from contracts.errors import OnPolicyError, UserError
from evaluation.benchmarks.base import Decoding, Question


class _Collected(Exception):
    """What was asked; raised so that nothing is scored."""

    def __init__(self, asked: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__()
        self.asked = asked


class _Ours(LM):
    """Conversations come out as JSON; given answers, they go in, in order."""

    def __init__(self, answers: Sequence[str] | None = None) -> None:
        super().__init__()
        self._answers = answers

    @property
    def tokenizer_name(self) -> str:
        """Of its cache, which is not used."""
        return "onpolicy"

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        """The messages themselves: the template is ours to apply."""
        return json.dumps(chat_history)

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """The answers, each up to the task's first stop string.

        Raises:
            OnPolicyError: there are more or fewer than questions.
        """
        arguments = [request.args for request in requests]
        if self._answers is None:
            # lm-eval builds its prompts on the way to a model; it is stopped here, once they are
            # known.
            raise _Collected(arguments)
        if len(arguments) != len(self._answers):
            raise OnPolicyError(f"lm-eval asks {len(arguments)} times, not {len(self._answers)}")
        pairs = zip(self._answers, arguments, strict=True)
        return [_cut(answer, settings.get("until") or []) for answer, (_, settings) in pairs]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Not ours to give."""
        raise UserError("the task compares log-probs of given answers; only tasks whose answers "
                        "are generated can be asked")  # fmt: skip

    loglikelihood_rolling = loglikelihood


def collect(task: str, include_path: str | None, limit: int | None) -> list[Question]:
    """What a task asks.

    Raises:
        UserError: there is no such task, or it is not generative.
    """
    try:
        _evaluate(_Ours(), task, include_path, limit)
    except _Collected as found:
        return [_question(key, *arguments) for key, arguments in enumerate(found.asked)]
    except (KeyError, ValueError) as error:
        raise UserError(f"lm_eval: task {task!r}: {error}") from None
    raise UserError(f"lm_eval: task {task!r} asks nothing")


def score(
    task: str, include_path: str | None, limit: int | None, answers: Sequence[str]
) -> dict[str, float]:
    """The task's metrics, `exact_match,strict-match` and the like."""
    results = _evaluate(_Ours(answers), task, include_path, limit)["results"]
    return {
        name if len(results) == 1 else f"{one} {name}": float(value)
        for one, metrics in results.items()
        for name, value in metrics.items()
        if isinstance(value, int | float) and "_stderr" not in name and name != "sample_len"
    }


def _evaluate(model: _Ours, task: str, include_path: str | None, limit: int | None) -> Any:
    manager = TaskManager(include_path=include_path, include_defaults=include_path is None)
    return simple_evaluate(
        model=model,
        tasks=[task],
        task_manager=manager,
        limit=limit,
        apply_chat_template=True,
        # Its standard errors are not read (`score`).
        bootstrap_iters=0,
        log_samples=False,
    )


def _question(key: int, context: str, settings: dict[str, Any]) -> Question:
    sampled = settings.get("do_sample", False) or settings.get("temperature", 0) > 0
    decoding = Decoding(
        temperature=float(settings.get("temperature", 1.0)) if sampled else 0.0,
        top_p=float(settings.get("top_p", 1.0)),
        max_tokens=int(settings.get("max_gen_toks", settings.get("max_tokens", 1024))),
    )
    return Question(str(key), json.loads(context), decoding=decoding)


def _cut(answer: str, until: Sequence[str] | str) -> str:
    stops = [until] if isinstance(until, str) else until
    ends = [place for stop in stops if stop and (place := answer.find(stop)) >= 0]
    return answer[: min(ends, default=len(answer))]

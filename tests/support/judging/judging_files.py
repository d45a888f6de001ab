"""Small files of answers in the benchmarks' own formats, and what a judge of them is asked."""

import json
import re
from pathlib import Path
from typing import Any

from evaluation.judging.config import JudgingConfig, LLMJudge


def write_outputs(path: Path, answers: dict[str, str], generator: str) -> Path:
    """AlpacaEval's `model_outputs.json`."""
    rows = [
        {"dataset": "d", "instruction": key, "output": text, "generator": generator}
        for key, text in answers.items()
    ]
    path.write_text(json.dumps(rows))
    return path


def write_model_answers(path: Path, answers: dict[str, list[str]], model: str) -> Path:
    """FastChat's `model_answer/MODEL.jsonl`."""
    rows = [
        {"question_id": key, "model_id": model, "choices": [{"index": 0, "turns": turns}]}
        for key, turns in answers.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_questions(path: Path, questions: dict[str, list[str]], category: str = "writing") -> Path:
    """`question.jsonl`."""
    rows = [
        {"question_id": key, "category": category, "turns": turns}
        for key, turns in questions.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def completion(text: str, top_logprobs: dict[str, float] | None = None) -> bytes:
    """A whole chat completion, with the first token's alternatives, and 100 + 2 tokens."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    if top_logprobs:
        top = [{"token": name, "logprob": value} for name, value in top_logprobs.items()]
        choice["logprobs"] = {"content": [{"top_logprobs": top}]}
    usage = {"prompt_tokens": 100, "completion_tokens": 2}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def llm_judge(url: str, **settings: Any) -> LLMJudge:
    """A judge that waits for nothing and judges no question twice."""
    resources = {"attempts": 2, "concurrency": 4, "api_key_env": "JUDGE_KEY"}
    resources |= settings.pop("resources", {})
    fixed = {"model": "judge-1", "base_url": url, "repeats": 0}
    return LLMJudge.model_validate(fixed | settings | {"resources": resources})


FOR_FIRST = completion("m", {"m": -0.05, "M": -3.0})


def instruction(question: str) -> str:
    """The one in AlpacaEval's prompt."""
    found = re.search(r'"instruction": """(.*)"""', question)
    return found[1] if found else question


def alpaca_judging(url: str, **settings: Any) -> JudgingConfig:
    """AlpacaEval's judging by `llm_judge`."""
    return JudgingConfig(benchmark="alpaca_eval", judge=llm_judge(url, **settings))

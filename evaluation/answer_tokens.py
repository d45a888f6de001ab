"""Stage: a policy's held-out answers as tokens, so that two models can score them.

The very ids that were sampled, behind their prompt, in the form that `training.reference` scores:
the first two samples of a prompt in a row, the same one twice where there is but one.
"""

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from contracts.chat import ChatFormat, RowError
from contracts.errors import OnPolicyError
from contracts.models.model import load_tokenizer
from contracts.steps.inputs import Inputs, Model
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES, TOKENS
from evaluation.config import AnswerTokensConfig
from generation.engines import adapter
from runtime.stage_process import main

SIDES = ("chosen", "rejected")
"""What TOKENS and REFERENCE call a row's two responses; here neither is better."""


class AnswerTokensInputs(Inputs):
    """The held-out prompts, the answers to them, and whose tokenizer asked."""

    prompts: Annotated[Path, PROMPTS]
    responses: Annotated[Path, RESPONSES]
    policy: Model


def run(config: AnswerTokensConfig, inputs: AnswerTokensInputs, out: Path) -> Result:
    """Write TOKENS of the first `count` held-out prompts.

    Raises:
        OnPolicyError: no held-out prompt has an answer.
    """
    chat = ChatFormat(
        load_tokenizer(adapter.resolve(inputs.policy).tokenizer), config.bos, config.date
    )
    answers = _answers(inputs.responses)
    rows: list[dict[str, Any]] = []
    dropped = 0
    for prompt in read_table(inputs.prompts, ["prompt_id", "messages", "split"]).to_pylist():
        answered = answers.get(prompt["prompt_id"], [])
        if prompt["split"] != "test" or len(rows) == config.count:
            continue
        try:
            ids = chat.prompt_ids(prompt["messages"])
        except RowError:
            ids = []
        if not answered or not ids:
            dropped += 1
            continue
        rows.append(_row(prompt["prompt_id"], ids, answered))
    if not rows:
        raise OnPolicyError(f"{inputs.responses}: no held-out prompt has an answer to score")
    write_part(out, 0, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
    return Result(len(rows), {"unanswered": dropped})


def _answers(responses: Path) -> dict[str, list[list[int]]]:
    """Token ids of each prompt's first two answers that hold any."""
    by_prompt: dict[str, list[list[int]]] = {}
    for row in read_table(responses, ["prompt_id", "token_ids"]).to_pylist():
        ids = by_prompt.setdefault(row["prompt_id"], [])
        if row["token_ids"] and len(ids) < len(SIDES):
            ids.append(row["token_ids"])
    return by_prompt


def _row(prompt_id: str, ids: list[int], answers: list[list[int]]) -> dict[str, Any]:
    row: dict[str, Any] = {"prompt_id": prompt_id, "prompt_ids": ids}
    for place, side in enumerate(SIDES):
        row |= {f"{side}_ids": answers[place % len(answers)], f"{side}_loss_start": 0}
    return row


STAGE = Stage(
    name="evaluation.answer_tokens", version=1, config=AnswerTokensConfig,
    inputs=AnswerTokensInputs, output=TOKENS, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)

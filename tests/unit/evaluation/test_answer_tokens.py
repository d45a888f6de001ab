"""Held-out answers as tokens: the very ids that were sampled, behind their prompt."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.errors import OnPolicyError
from contracts.steps.facts import Facts
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.answer_tokens import STAGE
from evaluation.config import AnswerTokensConfig
from training.tokens.checks import refuse_bad_rows


def write(folder: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> str:
    folder.mkdir()
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=schema), schema)
    write_manifest(folder, folder.name, Result(len(rows), facts=Facts()), Manifest.clock())
    return str(folder)


def inputs(folder: Path, policy: Path, answers: dict[str, list[list[int]]]) -> dict[str, str]:
    asked = [
        {"prompt_id": f"p{n}", "messages": [{"role": "user", "content": f"{n}?"}], "source": "s",
         "split": split} for n, split in enumerate(["test", "benchmark", "test", "test", "test"])
    ]  # fmt: skip
    given = [
        {"prompt_id": key, "response_id": f"{key}-{sample}", "sample": sample, "seed": 0,
         "text": "x", "token_ids": ids, "finish_reason": "stop", "n_tokens": len(ids),
         "logprob": None, "policy": "p"}
        for key, several in answers.items() for sample, ids in enumerate(several)
    ]  # fmt: skip
    return {
        "prompts": write(folder / "prompts", PROMPTS, asked),
        "responses": write(folder / "responses", RESPONSES, given),
        "policy": str(policy),
    }


def test_two_answers_of_a_prompt_are_a_row_and_one_stands_there_twice(
    tmp_path: Path, tiny_gemma: Path
) -> None:
    answers = {"p0": [[7, 8], [9], [10]], "p1": [[5]], "p2": [[11]], "p4": [[12]]}
    read = inputs(tmp_path, tiny_gemma, answers)
    manifest = run_once(STAGE, AnswerTokensConfig(count=2), read, tmp_path / "out")
    rows = read_table(tmp_path / "out").to_pylist()
    assert [(r["prompt_id"], r["chosen_ids"], r["rejected_ids"]) for r in rows] == [
        ("p0", [7, 8], [9]), ("p2", [11], [11]),
    ]  # fmt: skip
    assert rows[0]["prompt_ids"].count(2) == 1  # one BOS
    assert refuse_bad_rows(tmp_path / "out") == 2
    assert manifest.dropped == {}


def test_nothing_to_score_is_told(tmp_path: Path, tiny_gemma: Path) -> None:
    read = inputs(tmp_path, tiny_gemma, {"p1": [[5]]})
    with pytest.raises(OnPolicyError, match="no held-out prompt has an answer"):
        run_once(STAGE, AnswerTokensConfig(count=2), read, tmp_path / "out")

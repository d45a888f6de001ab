"""Benchmark answers in AlpacaEval's own format."""

import json
from pathlib import Path

import pyarrow as pa

from contracts.steps.manifest import Result
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.config import OutputsConfig, OutputsLabel
from evaluation.outputs import OutputsInputs, run

SPLITS = {"t1": "test", "b1": "benchmark", "b2": "benchmark"}


def write_responses(folder: Path, prompts: list[str], samples: int = 2) -> str:
    rows = [
        {
            "prompt_id": prompt,
            "response_id": f"{prompt}-{sample}",
            "sample": sample,
            "seed": 1,
            "text": f"answer {sample} to {prompt} \N{WAVING HAND SIGN}",
            "token_ids": [1],
            "finish_reason": "stop",
            "n_tokens": 1,
            "logprob": None,
            "policy": "p",
        }
        for prompt in reversed(prompts)
        for sample in reversed(range(samples))
    ]
    folder.mkdir()
    half = len(rows) // 2
    for index, part in enumerate((rows[:half], rows[half:])):
        write_part(folder, index, pa.Table.from_pylist(part, schema=RESPONSES), RESPONSES)
    return str(folder)


def write_prompts(folder: Path) -> str:
    rows = [
        {
            "prompt_id": name,
            "messages": [{"role": "user", "content": f"question {name}"}],
            "source": "questions.json",
            "split": split,
        }
        for name, split in SPLITS.items()
    ]
    folder.mkdir()
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    return str(folder)


def outputs(folder: Path, answered: list[str]) -> tuple[Result, list[dict[str, str]]]:
    inputs = {
        "prompts": write_prompts(folder / "prompts"),
        "responses": write_responses(folder / "responses", answered),
    }
    (folder / "out").mkdir()
    result = run(
        OutputsConfig(label=OutputsLabel(generator="tiny")), OutputsInputs(**inputs), folder / "out"
    )
    return result, json.loads((folder / "out" / "model_outputs.json").read_text())


def test_outputs_are_the_first_answers_in_file_order(tmp_path: Path) -> None:
    result, written = outputs(tmp_path, list(SPLITS))
    assert written == [
        {
            "dataset": "questions.json",
            "instruction": f"question {name}",
            "output": f"answer 0 to {name} \N{WAVING HAND SIGN}",
            "generator": "tiny",
        }
        for name in ("b1", "b2")
    ]
    assert result.rows == 2


def test_a_prompt_without_an_answer_is_counted(tmp_path: Path) -> None:
    result, written = outputs(tmp_path, ["t1", "b2"])
    assert [row["instruction"] for row in written] == ["question b2"]
    assert result.dropped["unanswered"] == 1


def test_outputs_have_the_keys_of_alpaca_evals_own_files(tmp_path: Path, shared_data: Path) -> None:
    _, ours = outputs(tmp_path, list(SPLITS))
    for path in (shared_data / "alpaca_eval" / "model_outputs").glob("*.json"):
        published = json.loads(path.read_text())[0]
        assert list(ours[0]) == list(published), path.name
        assert all(type(ours[0][key]) is type(published[key]) for key in published)

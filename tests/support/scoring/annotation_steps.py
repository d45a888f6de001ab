"""A small run of the user's own reward functions, for the tests of the annotation stages."""

from pathlib import Path

import pyarrow as pa
from made_facts import made_facts

from annotation import pairs, score
from annotation.config import PairsConfig, ScoreConfig
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS, RESPONSES

LENGTH = {"kind": "function", "name": "length", "function": "annotation_rewards:length"}
VOWELS = {"kind": "function", "name": "vowels", "function": "annotation_rewards:vowels"}
REWARDS = """
def length(messages, text):
    return float(len(text)) if text != "bad" else float("nan")

def vowels(messages, text):
    return sum(text.count(v) for v in "aeiou") + len(messages) / 100
"""


def write_run(root: Path) -> None:
    """6 prompts in 3 parts; 3 responses each, in 2 parts of another order than the prompts."""
    words = ["one", "threes", "sevens up", "bad", "eleven of them", "a"]
    prompts = [
        {
            "prompt_id": f"p{i}",
            "messages": [{"role": "user", "content": f"Question {i}"}],
            "source": "test",
            "split": "test" if i == 4 else "train",
        }
        for i in range(6)
    ]
    for part in range(3):
        table = pa.Table.from_pylist(prompts[2 * part : 2 * part + 2], PROMPTS)
        write_part(folder(root, "prompts"), part, table, PROMPTS)
    responses = [
        response(f"p{i}", sample, words[(i + 2 * sample) % 6])
        for i in (3, 1, 4, 0, 5, 2)
        for sample in range(3)
    ]
    for part in range(2):
        table = pa.Table.from_pylist(responses[9 * part : 9 * part + 9], RESPONSES)
        write_part(folder(root, "responses"), part, table, RESPONSES)
    finish(root / "prompts", 6)
    finish(root / "responses", 18, policy="policy-1")


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name


def finish(path: Path, rows: int, **facts: object) -> None:
    write_manifest(path, "test", Result(rows=rows, facts=made_facts(facts)), Manifest.clock())


def response(prompt_id: str, sample: int, text: str) -> dict:
    return {
        "prompt_id": prompt_id,
        "response_id": f"{prompt_id}-{sample}",
        "sample": sample,
        "seed": sample,
        "text": text,
        "token_ids": list(range(len(text))),
        "finish_reason": "stop",
        "n_tokens": len(text),
        "logprob": None,
        "policy": "policy-1",
    }


def score_in(root: Path, *annotators: dict, out: str = "scores") -> Manifest:
    config = ScoreConfig.model_validate({"annotators": annotators or [LENGTH]})
    inputs = {"prompts": str(root / "prompts"), "responses": str(root / "responses")}
    return run_once(score.STAGE, config, inputs, root / out)


def pair_in(root: Path, out: str = "pairs", **config: object) -> Manifest:
    inputs = {name: str(root / name) for name in ("prompts", "responses", "scores")}
    return run_once(pairs.STAGE, PairsConfig.model_validate(config), inputs, root / out)

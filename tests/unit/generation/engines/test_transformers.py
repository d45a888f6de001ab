"""The transformers engine and the sampling stage on a tiny real Gemma-2."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from contracts.errors import UserError
from contracts.models.model import load_tokenizer
from contracts.steps import fingerprint
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import part_path, part_paths, read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SampleConfig
from generation.engines.adapter import resolve
from generation.engines.transformers import Choose
from generation.sample import STAGE
from generation.sources.conversation import prompt_id

# In this process: a worker of its own would import torch again.
ENGINE = {"kind": "transformers", "batch_size": 4, "resources": {"data_parallel": 0}}


def write_prompts(folder: Path, texts: list[str]) -> Path:
    rows = []
    for text in texts:
        messages = [{"role": "user", "content": text}]
        identifier = prompt_id(messages)
        rows.append(
            {"prompt_id": identifier, "messages": messages, "source": "x", "split": "train"}
        )
    folder.mkdir()
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    write_manifest(folder, "test", Result(rows=len(rows)), Manifest.clock())
    return folder


@pytest.fixture
def sample(tiny_gemma: Path, tmp_path: Path) -> Any:
    """Runs the stage on prompts of 5 lengths; the manifest and the table."""
    prompts = write_prompts(tmp_path / "prompts", [f"name {'red ' * i}fish" for i in range(5)])

    def run(name: str = "out", **keys: Any) -> tuple[Manifest, list[dict[str, Any]]]:
        keys = {"n": 3, "max_tokens": 12, "prompts_per_part": 2, "engine": ENGINE} | keys
        inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
        manifest = run_once(STAGE, SampleConfig(**keys), inputs, tmp_path / name)
        return manifest, read_table(tmp_path / name).to_pylist()

    return run


def test_every_prompt_gets_its_samples_in_order(
    sample: Any, tiny_gemma: Path, tmp_path: Path
) -> None:
    manifest, rows = sample()
    assert manifest.rows == 15
    assert manifest.facts["policy"] == fingerprint.of_input(str(tiny_gemma))
    assert len(part_paths(tmp_path / "out")) == 3
    assert [row["sample"] for row in rows] == [0, 1, 2] * 5
    assert len({row["seed"] for row in rows}) == 15
    assert len({tuple(row["token_ids"]) for row in rows}) == 15
    assert not list((tmp_path / "out").glob(".journal*"))


def test_answers_end_at_a_stop_token_or_at_max_tokens(sample: Any, tiny_gemma: Path) -> None:
    manifest, rows = sample(n=8, max_tokens=100)
    tokenizer = load_tokenizer(str(tiny_gemma))
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")}
    for row in rows:
        assert row["n_tokens"] == len(row["token_ids"])
        assert not ends & set(row["token_ids"][:-1])
        assert (row["token_ids"][-1] in ends) == (row["finish_reason"] == "stop")
        assert row["finish_reason"] == "stop" or row["n_tokens"] == 100
        assert row["text"] == tokenizer.decode(row["token_ids"], skip_special_tokens=True)
    reasons = Counter(row["finish_reason"] for row in rows)
    assert reasons["stop"] > 5
    assert manifest.facts["truncated"] == reasons["length"]


def test_a_resumed_run_gives_the_same_bytes(sample: Any, tmp_path: Path) -> None:
    whole, _ = sample("whole")
    resumed, _ = sample("resumed")
    out = tmp_path / "resumed"
    (out / "_manifest.json").unlink()
    part_path(out, 1).unlink()
    again, _ = sample("resumed")
    assert whole.files == resumed.files == again.files


def test_journaled_samples_are_not_drawn_again(sample: Any, tmp_path: Path) -> None:
    _, rows = sample("whole")
    out = tmp_path / "resumed"
    out.mkdir()
    first_batch = [
        {
            "response_id": row["response_id"],
            "tokens": [9],
            "finish_reason": "stop",
            "logprob": None,
        }
        for row in rows[:4]
    ]
    (out / ".journal-00000.jsonl").write_text("".join(json.dumps(s) + "\n" for s in first_batch))
    _, resumed = sample("resumed")
    assert [row["token_ids"] for row in resumed[:4]] == [[9]] * 4
    assert resumed[4:] == rows[4:]


def test_a_sample_depends_on_its_prompt_and_seed_alone(sample: Any) -> None:
    _, rows = sample("one")
    _, other = sample("two", prompts_per_part=5, engine=ENGINE | {"batch_size": 15})
    assert [row["token_ids"] for row in rows] == [row["token_ids"] for row in other]


def test_greedy_answers_take_the_likeliest_token_each_time(sample: Any, tiny_gemma: Path) -> None:
    from transformers import AutoModelForCausalLM

    _, rows = sample(n=1, temperature=0, logprobs=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_gemma, attn_implementation="eager")
    tokenizer = load_tokenizer(str(tiny_gemma))
    for row, text in zip(rows, [f"name {'red ' * i}fish" for i in range(5)], strict=True):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True
        )["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + row["token_ids"]])).logits[0]
        steps = logits[len(prompt) - 1 : -1].log_softmax(-1)
        assert steps.argmax(-1).tolist() == row["token_ids"]
        assert math.isclose(steps.max(-1).values.sum(), row["logprob"], abs_tol=1e-3)


def test_a_stop_string_ends_the_answer_and_is_cut_off(sample: Any) -> None:
    _, free = sample("free", max_tokens=40)
    letters = Counter(c for row in free for c in row["text"] if c.isascii())
    letter = letters.most_common(1)[0][0]
    _, rows = sample("stopped", max_tokens=40, stop=[letter])
    assert any(letter in row["text"] for row in free)
    for row, unstopped in zip(rows, free, strict=True):
        assert row["text"] == unstopped["text"].split(letter)[0]
        assert row["token_ids"] == unstopped["token_ids"][: row["n_tokens"]]
        if letter in unstopped["text"]:
            assert row["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_p": 0.7}, [0, 1]),
        ({"top_p": 1.0, "top_k": 3}, [0, 1, 2]),
        ({"top_p": 1.0, "min_p": 0.5}, [0, 1]),
        ({"top_p": 1.0, "temperature": 2.0}, [0, 1, 2, 3]),
    ],
)
def test_draws_follow_the_filtered_distribution(keys: dict[str, Any], allowed: list[int]) -> None:
    config = SampleConfig(**{"temperature": 1.0} | keys)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    draws = 4000
    choose = Choose([config] * draws, range(draws), torch.device("cpu"))
    rows = logits.expand(draws, -1)
    counts = choose(torch.zeros(draws, 1, dtype=torch.long), rows).argmax(-1).bincount(minlength=4)
    expected = (logits / config.temperature).softmax(-1)
    expected = torch.tensor([p if i in allowed else 0.0 for i, p in enumerate(expected)])
    expected /= expected.sum()
    assert torch.allclose(counts / draws, expected, atol=0.03)
    assert counts[expected == 0].sum() == 0


def test_each_row_is_drawn_by_its_own_temperature() -> None:
    configs = [SampleConfig(n=1, temperature=t, top_p=p) for t, p in ((0, 1), (1, 0.7), (1, 1))]
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(3, -1)
    seen = torch.zeros(3, 4)
    for seed in range(200):
        choose = Choose(configs, [seed] * 3, torch.device("cpu"))
        drawn = choose(torch.zeros(3, 1, dtype=torch.long), logits).argmax(-1)
        seen[torch.arange(3), drawn] += 1
    assert (seen > 0).tolist() == [[True] + [False] * 3, [True] * 2 + [False] * 2, [True] * 4]


def test_a_context_without_room_for_a_prompt_is_refused(sample: Any) -> None:
    with pytest.raises(UserError, match=r"max_tokens 600 .* context of 512 tokens"):
        sample(max_tokens=600)


def test_no_prompt_left_is_refused_with_the_reasons(sample: Any) -> None:
    with pytest.raises(UserError, match=r"none of its 5 prompts .*'prompt_too_long': 5"):
        sample(max_tokens=510)


def test_a_policy_without_weights_is_refused(sample: Any, tiny_gemma: Path) -> None:
    weights = tiny_gemma / "model.safetensors"
    weights.rename(tiny_gemma / "gone")
    try:
        with pytest.raises(UserError, match=r"holds no \*\.safetensors"):
            sample()
    finally:
        (tiny_gemma / "gone").rename(weights)


def test_an_adapter_is_sampled_on_top_of_its_base(tiny_gemma: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    adapted = get_peft_model(base, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    load_tokenizer(str(tiny_gemma)).save_pretrained(tmp_path / "merged")
    prompts = write_prompts(tmp_path / "prompts", ["name a red fish", "name two"])

    def answers(policy: Path, name: str) -> list[list[int]]:
        inputs = {"prompts": str(prompts), "policy": str(policy)}
        config = SampleConfig.model_validate({"n": 2, "max_tokens": 12, "engine": ENGINE})
        manifest = run_once(STAGE, config, inputs, tmp_path / name)
        assert manifest.facts["policy"] == fingerprint.of_input(str(policy))
        return read_table(tmp_path / name)["token_ids"].to_pylist()

    with_adapter = answers(tmp_path / "adapter", "one")
    assert with_adapter == answers(tmp_path / "merged", "two")
    assert with_adapter != answers(tiny_gemma, "three")


def test_an_adapter_without_a_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="names no base_model_name_or_path"):
        resolve(str(tmp_path))

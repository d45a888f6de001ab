"""What ArmoRM refuses, what becomes an error row, and what its config can change."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.armorm.model import ArmoRM, load_armorm
from annotation.armorm.scorer import ArmoRMScorer, open_armorm
from annotation.armorm.vllm_scorer import open_vllm
from annotation.scorers.heads import OBJECTIVES
from annotation.scorers.protocol import Conversation
from contracts.chat import ChatFormat
from contracts.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_llama_tokenizer) -> Path:
    """A small random ArmoRM and its tokenizer."""
    path = tmp_path_factory.mktemp("armorm")
    tiny_llama_tokenizer.save_pretrained(path)
    make_model(path, len(tiny_llama_tokenizer), tiny_llama_tokenizer.pad_token_id)
    return path


def make_model(path: Path, vocabulary: int, pad: int | None) -> None:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=pad,
        initializer_range=0.3,
        num_objectives=19,
        gating_hidden_dim=8,
        gating_n_hidden=3,
    )
    ArmoRM(config).save_pretrained(path)


def opened(model: Path, **settings: object) -> ArmoRMScorer:
    config = ArmoRMConfig.model_validate({"name": "a", "path": str(model), **settings})
    return open_armorm(config, str(model), ScoreResources(device="cpu"))


def pad(token: str) -> dict[str, str]:
    return {"pad_token": token}


def ask(*responses: str, prompt: str = "Hi") -> list[Conversation]:
    return [Conversation([{"role": "user", "content": prompt}], list(responses))]


@pytest.mark.parametrize("lost", ["gating.layers.3.bias", "regression_layer.weight"])
def test_a_model_without_a_head_tensor_is_refused(folder, tmp_path, lost):
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match=rf"reward heads are missing \({lost}\).*about -2\.0"):
        load_armorm(str(tmp_path), CPU, torch.float32)


def test_an_incomplete_backbone_is_refused(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match=r"missing: model\.norm\.weight"):
        load_armorm(str(tmp_path), CPU, torch.float32)


def test_pickled_weights_are_refused(folder, tmp_path):
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match="safetensors"):
        load_armorm(str(tmp_path), CPU, torch.float32)


def test_a_long_conversation_is_an_error_unless_truncation_is_asked_for(folder):
    long, fits = opened(folder, max_length=60).score(ask("x " * 99, "x"))
    assert long.score is None
    assert long.error.startswith("too_long: ")
    assert fits.score is not None
    cutting = opened(folder, max_length=60, too_long="truncate")
    cut, same = cutting.score(ask("x " * 99, "x"))
    assert cut.score is not None and cut.cut > 0
    assert same.cut is None
    assert same.score == pytest.approx(fits.score, abs=1e-5)
    (no_room,) = cutting.score(ask("x", prompt="x " * 99))
    assert no_room.error.startswith("too_long: ")


def test_a_response_that_spells_a_control_token_is_an_error(folder):
    bad, good = opened(folder).score(ask("a<|eot_id|>b", "good"))
    assert bad.error.startswith("special_token_in_text")
    assert good.score is not None


def test_a_conversation_without_the_assistants_header_is_an_error(folder, tmp_path):
    """The template opens the assistant's turn in another way when a user named Ann asks."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>"
        "{{ m.content }}<|eot_id|>{% if loop.first and 'Ann' in m.content %}<|end_of_text|>"
        "{% endif %}{% if loop.last and add_generation_prompt %}"
        "<|start_header_id|>assistant<|end_header_id|>{% endif %}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path)
    make_model(tmp_path, len(tokenizer), tokenizer.pad_token_id)
    scorer = opened(tmp_path)
    (fine,) = scorer.score(ask("x"))
    assert fine.score is not None
    (score,) = scorer.score(ask("x", prompt="I am Ann"))
    assert score.error.startswith("no_gate: ")


def test_weights_of_ones_own_replace_the_gate(folder):
    scorer = opened(folder, weights={"code-style": 2.0, "helpsteer-verbosity": -1.0})
    for s in scorer.score(ask("one", "another one")):
        style = s.objectives[OBJECTIVES.index("code-style")]
        assert s.score == pytest.approx(2 * style - s.objectives[4], abs=1e-5)


def test_an_unknown_objective_is_named(folder):
    with pytest.raises(UserError, match="no objective is named 'niceness'"):
        opened(folder, weights={"niceness": 1.0})


def test_a_model_without_a_pad_token_is_refused(folder, tmp_path, tiny_llama_tokenizer):
    model = copy_with_pad(folder, tmp_path, None)
    with pytest.raises(UserError, match="no padding token; name one with the annotator's `pad_t"):
        opened(model)
    named = opened(model, **pad("<|end_of_text|>"))
    assert named.pad_id == tiny_llama_tokenizer.convert_tokens_to_ids("<|end_of_text|>")
    with pytest.raises(UserError, match="has no token 'nope'"):
        opened(model, **pad("nope"))


def test_a_pad_token_that_ends_the_turn_is_refused(folder, tmp_path):
    model = copy_with_pad(folder, tmp_path, "<|eot_id|>")
    with pytest.raises(UserError, match="padding token is its end-of-turn token"):
        opened(model)


def copy_with_pad(folder: Path, target: Path, pad: str | None) -> Path:
    """The model, with this padding token or none."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = pad
    tokenizer.save_pretrained(target)
    config = json.loads((folder / "config.json").read_text())
    del config["pad_token_id"]
    (target / "config.json").write_text(json.dumps(config))
    (target / "model.safetensors").symlink_to(folder / "model.safetensors")
    return target


def test_the_derived_llama_3_tokenizer_has_no_pad_and_is_refused(tmp_path, shared_data):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "llama3_small_derived")
    tokenizer.save_pretrained(tmp_path)
    make_model(tmp_path, len(tokenizer), None)
    with pytest.raises(UserError, match="no padding token"):
        opened(tmp_path)


def test_the_gate_pattern_of_the_published_tokenizer_has_the_published_shape(shared_data):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "llama3_small_derived")
    header = ChatFormat(tokenizer).header_ids()
    parts = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    eot, begin, end = tokenizer.convert_tokens_to_ids(parts)
    assert header[:2] == [eot, begin]
    assert end in header
    assert tokenizer.decode(header) == "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"


def test_vllm_is_not_asked_for_more_than_the_model_has_positions_for(folder):
    config = ArmoRMConfig(name="a", path=str(folder), engine="vllm")
    with pytest.raises(UserError, match=r"max_length is 4096, and vLLM takes no more .* 2048 pos"):
        open_vllm(config, str(folder), ScoreResources(device="cpu"))

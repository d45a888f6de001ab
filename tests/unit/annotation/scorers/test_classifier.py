"""Sequence classifiers as annotators: real tiny models of two families."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from annotation.annotators.base import ScoreResources
from annotation.annotators.classifier import ClassifierConfig
from annotation.scorers.classifier import open_classifier
from annotation.scorers.protocol import Conversation
from contracts.errors import UserError

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
    "num_labels": 1,
}
CONVERSATIONS = [
    Conversation([{"role": "user", "content": "Hi"}], ["Hello", "Hello to you too, " * 4]),
    Conversation([{"role": "user", "content": "Name a colour. " * 3}], ["Red", "Blue."]),
]


@pytest.fixture
def llama(tmp_path, tiny_llama_tokenizer) -> Path:
    tiny_llama_tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tiny_llama_tokenizer), **SIZES)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def gemma(tmp_path, tiny_gemma) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny_gemma)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=len(tokenizer), head_dim=16, sliding_window=8, **SIZES)
    Gemma2ForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


def opened(model: Path, batch_tokens: int = 10_000):
    resources = ScoreResources(device="cpu", batch_tokens=batch_tokens)
    return open_classifier(ClassifierConfig(name="c", path=str(model)), str(model), resources)


def one_at_a_time(model: Path) -> list[float]:
    """The logits of whole conversations, each alone and unpadded."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    logits = []
    for conversation in CONVERSATIONS:
        for text in conversation.responses:
            messages = [*conversation.messages, {"role": "assistant", "content": text}]
            rendered = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logits.append(float(classifier(input_ids=ids).logits))
    return logits


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_scores_equal_one_conversation_at_a_time(family, batch_tokens, request):
    model = request.getfixturevalue(family)
    scores = [s.score for s in opened(model, batch_tokens).score(CONVERSATIONS)]
    assert scores == pytest.approx(one_at_a_time(model), abs=1e-5)
    assert len({round(score, 4) for score in scores}) == 4


def test_a_random_head_is_refused(llama, tiny_llama_tokenizer):
    config = LlamaConfig(vocab_size=len(tiny_llama_tokenizer), **SIZES)
    LlamaForCausalLM(config).save_pretrained(llama)
    with pytest.raises(UserError, match=r"score\.weight is missing, so its scores would be random"):
        opened(llama)


def test_a_classifier_with_two_labels_is_refused(llama, tiny_llama_tokenizer):
    config = LlamaConfig(vocab_size=len(tiny_llama_tokenizer), **{**SIZES, "num_labels": 2})
    LlamaForSequenceClassification(config).save_pretrained(llama)
    with pytest.raises(UserError, match="has 2 labels; a reward model has one"):
        opened(llama)


def test_a_folder_without_weights_is_refused(llama):
    (llama / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no \*\.safetensors"):
        opened(llama)


def test_a_cuda_device_that_is_not_there_is_refused(llama):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    config = ClassifierConfig(name="c", path=str(llama))
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        open_classifier(config, str(llama), ScoreResources(device="cuda:0"))

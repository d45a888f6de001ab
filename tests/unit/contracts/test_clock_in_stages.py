"""Each stage that applies a chat template tells it the run's date, or refuses to apply it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkout import CHECKOUT
from tiny_armorm import write_armorm
from transformers import LlamaConfig, LlamaForSequenceClassification

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.annotators.classifier import ClassifierConfig
from annotation.armorm.scorer import open_armorm
from annotation.armorm.vllm_scorer import open_vllm
from annotation.scorers.classifier import open_classifier
from annotation.scorers.protocol import Conversation
from contracts.chat import ChatFormat
from contracts.errors import UserError
from generation import sample
from generation.config import SampleConfig
from training import format as tokens
from training.config import FormatConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = CHECKOUT / "tests" / "templates"
DAY = "2026-03-02"


@pytest.fixture
def clocked(
    tmp_path: Path, tiny_gemma: Path, tiny_llama_tokenizer: "PreTrainedTokenizerFast"
) -> Path:
    """A policy, an ArmoRM and a classifier in folders, whose template reads the clock."""
    tiny_llama_tokenizer.save_pretrained(tmp_path / "policy")
    shutil.copyfile(tiny_gemma / "config.json", tmp_path / "policy" / "config.json")
    write_armorm(tmp_path / "armorm", tiny_llama_tokenizer)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(tiny_llama_tokenizer), num_attention_heads=2, num_labels=1, **small
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    tiny_llama_tokenizer.save_pretrained(tmp_path / "classifier")
    for model in ("policy", "armorm", "classifier"):
        shutil.copyfile(TEMPLATES / "clock-header.jinja", tmp_path / model / "chat_template.jinja")
    return tmp_path


@pytest.mark.parametrize(("kind", "config", "load"), [
    ("armorm", ArmoRMConfig, open_armorm),
    ("armorm", ArmoRMConfig, open_vllm),
    ("classifier", ClassifierConfig, open_classifier),
])  # fmt: skip
def test_a_reward_model_is_asked_about_the_day_that_the_annotator_says(
    clocked: Path, kind: str, config: Any, load: Callable[..., Any]
) -> None:
    folder, resources = str(clocked / kind), ScoreResources(device="cpu")
    with pytest.raises(UserError, match="reads the clock"):
        load(config(name="rm", path=folder), folder, resources)
    if load is open_vllm:  # with a date it starts the engine
        return
    asked = [Conversation([{"role": "user", "content": "Hi"}], ["Hello"])]
    scores = {
        day: load(config(name="rm", path=folder, date=day), folder, resources).score(asked)[0]
        for day in (DAY, "2026-03-03")
    }
    assert scores[DAY].score != scores["2026-03-03"].score


def test_a_policy_is_sampled_and_trained_on_the_same_day(
    clocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ChatFormat] = []

    def seen(*arguments: Any) -> ChatFormat:
        asked.append(ChatFormat(*arguments))
        raise InterruptedError

    inputs = {name: str(clocked / "policy") for name in ("policy", "prompts", "responses", "pairs")}
    # What is no template's affair would come first, or need an engine.
    monkeypatch.setattr(tokens, "refuse_off_policy", lambda *_: "")
    for stage, config in ((sample, SampleConfig), (tokens, FormatConfig)):
        names = inputs.keys() & stage.STAGE.inputs.model_fields
        read = stage.STAGE.reads({name: inputs[name] for name in names})
        with pytest.raises(UserError, match="reads the clock"):
            stage.run(config(), read, clocked)
        with monkeypatch.context() as patched, pytest.raises(InterruptedError):
            patched.setattr(stage, "ChatFormat", seen)
            stage.run(config(date=DAY), read, clocked)
    sampled, trained = (chat.prompt_ids([{"role": "user", "content": "Hi"}]) for chat in asked)
    assert sampled == trained
    assert "02 Mar 2026" in asked[0].tokenizer.decode(sampled)

"""A Llama-shaped ArmoRM of random weights and conversations of UltraFeedback's lengths."""

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.scorers.protocol import Conversation, Scorer
from benchmarks.support.device import Device
from benchmarks.support.shapes import Shape
from benchmarks.support.texts import rows
from contracts.chat import Message
from demo.tokenizers import LLAMA, train_tokenizer

if TYPE_CHECKING:
    from annotation.armorm.scorer import ArmoRMScorer

RESPONSES = 5
PASSES = 8
_VOCABULARY = 16_000
TINY = Shape("llama", _VOCABULARY, 640, 9, 10, 5, 64, 1728)
# Beside the tiny backbone; published is 1,024.
_TINY_GATING = {"gating_hidden_dim": 256}


def conversations(count: int) -> list[Conversation]:
    """Prompts with five responses each: a prompt's own two, and three of other prompts."""
    pairs = rows()
    prompts = [row["prompt"] for row in pairs]
    responses = [row[side] for row in pairs for side in ("chosen", "rejected")]
    order = random.Random(0).sample(range(len(prompts)), len(prompts))
    found = []
    for place in order[:count]:
        others = [(2 * place + step) % len(responses) for step in (0, 1, 102, 205, 308)]
        message: Message = {"role": "user", "content": prompts[place]}
        found.append(Conversation([message], [responses[other] for other in others]))
    return found


def in_passes(talks: list[Conversation]) -> list[list[Conversation]]:
    """Eighths, of one prompt at least."""
    size = max(1, len(talks) // PASSES)
    return [talks[start : start + size] for start in range(0, len(talks), size)][:PASSES]


def annotator(device: Device) -> ArmoRMConfig:
    """The config of what `save_model` saves."""
    return ArmoRMConfig.model_validate(
        {"name": "armorm", "path": "made here", "dtype": device.dtype}
    )


def save_model(folder: Path, texts: list[Conversation], shape: Shape, device: Device) -> int:
    """Save a model, drawn on the device in its dtype, and its tokenizer; gives the parameters of
    the layers."""
    import torch

    from annotation.armorm.model import ArmoRM

    lines = (text for talk in texts for text in [talk.messages[0]["content"], *talk.responses])
    tokenizer = train_tokenizer(LLAMA, lines, _VOCABULARY, max_length=8192)
    torch.manual_seed(0)
    own = {"vocab_size": len(tokenizer), **_TINY_GATING} if shape == TINY else {}
    config = shape.config(pad_token_id=tokenizer.pad_token_id, **own)
    with torch.device(device.kind):
        model = ArmoRM._from_config(config, dtype=device.torch_dtype)
    # Objectives of the order of 1, as ArmoRM's own: differences are then on its scores' scale.
    torch.nn.init.normal_(model.regression_layer.weight, std=shape.hidden**-0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parameters = sum(weight.numel() for weight in model.model.layers.parameters())
    del model
    device.release()
    return parameters


def open_scorer(shape: Shape, device: Device) -> "ArmoRMScorer":
    """Our scorer of what `save_model` saves, where nothing else is to be opened from there."""
    from annotation.armorm.scorer import open_armorm

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), conversations(400), shape, device)
        return open_armorm(annotator(device), folder, ScoreResources(device=device.kind))


def warm_up(scorer: Scorer, talks: list[Conversation]) -> None:
    """Two lengths of rows: on a GPU attention is compiled for the first, and then for any."""
    for count in (1, 2):
        scorer.score(talks[:count])

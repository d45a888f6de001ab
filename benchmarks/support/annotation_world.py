"""A Llama-shaped ArmoRM of random weights and conversations of UltraFeedback's lengths.

The texts are the public rows beside the checkout where they lie there, else random words of
the lengths that were recorded from those rows.
"""

import json
import random
from pathlib import Path

from annotation.annotators.armorm import ArmoRMConfig
from annotation.scorers.protocol import Conversation, Scorer
from benchmarks.support.device import Device
from benchmarks.support.shapes import Shape
from contracts.chat import Message
from demo.tokenizers import LLAMA, train_tokenizer

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "ultrafeedback" / "train_1000.jsonl"
RESPONSES = 5
PASSES = 8
_VOCABULARY = 16_000
TINY = Shape("llama", _VOCABULARY, 640, 9, 10, 5, 64, 1728)
# Beside the tiny backbone; published is 1,024.
_TINY_GATING = {"gating_hidden_dim": 256}

# Characters at the 0, 10, 25, 50, 75, 90 and 99 % quantiles of the 1,000 public rows.
_PROMPT_LENGTHS = (17, 54, 109, 363, 801, 1769, 4360)
_RESPONSE_LENGTHS = (2, 68, 243, 858, 1925, 2740, 4220)
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def source_of_lengths() -> str:
    """Where the texts come from, for the outcome's details."""
    return "UltraFeedback rows" if SOURCE.exists() else "recorded UltraFeedback lengths"


def conversations(count: int) -> list[Conversation]:
    """Prompts with five responses each: a prompt's own two, and three of other prompts."""
    prompts, responses = _public_texts() if SOURCE.exists() else _random_texts()
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


def warm_up(scorer: Scorer, talks: list[Conversation]) -> None:
    """Two lengths of rows: on a GPU attention is compiled for the first, and then for any."""
    for count in (1, 2):
        scorer.score(talks[:count])


def _public_texts() -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in SOURCE.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["prompt"] and row["chosen"] and row["rejected"]]
    responses = [row[side] for row in rows for side in ("chosen", "rejected")]
    return [row["prompt"] for row in rows], responses


def _random_texts() -> tuple[list[str], list[str]]:
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(3000)]

    def text(lengths: tuple[int, ...]) -> str:
        share = draw.random() * _SHARES[-1]
        step = max(i for i, s in enumerate(_SHARES[:-1]) if s <= share)
        part = (share - _SHARES[step]) / (_SHARES[step + 1] - _SHARES[step])
        size = lengths[step] + part * (lengths[step + 1] - lengths[step])
        return " ".join(draw.choices(words, k=max(1, round(size / 6))))

    return [text(_PROMPT_LENGTHS) for _ in range(500)], [
        text(_RESPONSE_LENGTHS) for _ in range(1000)
    ]

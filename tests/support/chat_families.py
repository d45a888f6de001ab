"""Chat templates with what sets each apart: our own for every trait, and the published ones."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from checkout import CHECKOUT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OWN_FOLDER = CHECKOUT / "tests" / "templates"

# Llama-3's own split into words: it keeps the line breaks behind a header in one piece.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CORPUS = [
    "user assistant system hello world a red bead tell me more be brief You are a helper.",
    "Today is 02 Mar 2026. [ASK] hello [/ASK]\nhello [ASK] more [/ASK]\nmore",
]


@dataclass(frozen=True)
class Family:
    """A template and its tokens."""

    name: str
    bos: str | None
    end: str
    """Its end of turn."""
    others: tuple[str, ...] = ()
    """Further tokens of the template's own."""
    eos: str = ""
    """The tokenizer's end of the sequence, where it is not the end of turn."""
    trims: bool = True
    """Whether white space around a message is taken off."""
    system: bool = True
    """Whether it takes a system message."""
    clock: bool = False
    """Whether it reads the clock."""
    published: bool = False
    """Whether it is of the public data beside the checkout, not of our own."""

    def __str__(self) -> str:
        return self.name

    def template(self, data: Path) -> str:
        """Its text; published ones are in `data`."""
        return (data / f"{self.name}.jinja").read_text()


_HEADS = ("<|start_header_id|>", "<|end_header_id|>")
_LLAMA = "<|begin_of_text|>", "<|eot_id|>", _HEADS

OWN = [
    Family("refuses-system", "<bos>", "<end>", ("<start>",), eos="<eos>", system=False),
    Family("folds-system", "<bos>", "<end>", ("<start>",), eos="<eos>"),
    Family("header-turns", "<bos>", "<end>", ("<head>", "</head>")),
    Family("plain-turns", "<bos>", "<eos>", trims=False, system=False),
    Family("no-bos", None, "<end>", ("<start>",), trims=False),
    Family("clock-header", *_LLAMA, clock=True),
    Family("clock-default-system", *_LLAMA, clock=True),
]
PUBLISHED = [
    Family("gemma-2-it", "<bos>", "<end_of_turn>", eos="<eos>", system=False, published=True),
    Family("gemma-2-it.simpo-training", "<bos>", "<end_of_turn>", eos="<eos>", published=True),
    Family("llama-3-instruct", "<|begin_of_text|>", "<|eot_id|>", published=True),
    Family(
        "mistral-7b-instruct-v0.2", "<s>", "</s>", trims=False, system=False, published=True
    ),
    Family("qwen2.5-instruct", None, "<|im_end|>", trims=False, published=True),
]  # fmt: skip

SPLITS = ("bytes", "words")
"""Two ways of our own tokenizers to cut text: anywhere, or as Llama-3's do."""


def own_tokenizer(family: Family, split: str) -> "PreTrainedTokenizerFast":
    """A byte-level BPE of about 300 tokens with the family's tokens; as the real ones, it begins
    text with its BOS."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    specials = [one for one in (family.bos, family.end, family.eos, *family.others) if one]
    tokenizer: Tokenizer = Tokenizer.from_str(_trained(split, tuple(specials)))
    if family.bos:
        first = [(family.bos, tokenizer.token_to_id(family.bos))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=first
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos or family.end,
        chat_template=family.template(OWN_FOLDER),
    )


@cache
def _trained(split: str, specials: tuple[str, ...]) -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, bytes_] if split == "words" else [bytes_]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=list(specials), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(_CORPUS * 2, trainer)
    return str(tokenizer.to_str())


def published_tokenizer(family: Family, data: Path, file: str) -> "PreTrainedTokenizerFast":
    """A real tokenizer that takes a published template's special tokens for its own."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = json.loads((data / "templates" / "tokens.json").read_text())[family.name]
    assert (tokens["bos"], tokens["turn_end"]) == (family.bos, family.end)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(data / "tokenizers" / file)),
        bos_token=tokens["bos"],
        eos_token=tokens["eos"],
        additional_special_tokens=[tokens["turn_end"]],
        chat_template=family.template(data / "templates"),
    )

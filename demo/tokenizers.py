"""Tokenizers trained on the demo's own text, with the special tokens of the real models."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATES = Path(__file__).parent

# Llama-3's own split into words. It keeps the line breaks behind a header in one piece, so
# that no answer's first word can merge with them.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Family:
    """A model family's special tokens, in id order, and its chat template as published."""

    special: tuple[str, ...]
    bos: str
    eos: str
    pad: str
    template: str


GEMMA = Family(
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    pad="<pad>",
    template="gemma-2-it.jinja",
)
# The published reward model has a pad token of its own: padding with <|eot_id|> would hide
# the last token of a response (recipe, section 3).
LLAMA = Family(
    special=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "[PAD]",
    ),
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    pad="[PAD]",
    template="llama-3-instruct.jinja",
)


def train_tokenizer(
    family: Family, texts: Iterable[str], vocab_size: int, max_length: int
) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer learned from `texts`; it can spell any Unicode text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(family.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{family.bos} $A",
        pair=f"{family.bos} $A {family.bos} $B",
        special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        additional_special_tokens=[
            token for token in family.special if token not in (family.bos, family.eos, family.pad)
        ],
        chat_template=(_TEMPLATES / family.template).read_text(encoding="utf-8"),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )

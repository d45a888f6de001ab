"""One pair's token ids: what enters the loss, and what happens to what is too long. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from contracts.chat import ChatFormat, Message, RowError


@dataclass(frozen=True)
class PairTokens:
    """A pair as lists of token ids. Every id of a response is inside the loss."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        """Tokens of the prompt and the longer response."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def standard(chat: ChatFormat, prompt: Sequence[Message], chosen: str, rejected: str) -> PairTokens:
    """The header belongs to the prompt; a response is its answer and the end of turn.

    Raises:
        RowError: a text cannot be formatted (contracts.chat).
    """
    first = chat.response_tokens(prompt, chosen)
    second = chat.response_tokens(prompt, rejected)
    return PairTokens(first.prompt, first.response, second.response)


def recipe(chat: ChatFormat, prompt: Sequence[Message], chosen: str, rejected: str) -> PairTokens:
    """The published format: a response is header, answer, end of turn and an end of sequence.

    For Gemma six tokens beside the answer's enter the mean: `<start_of_turn>`, `model`, newline,
    `<end_of_turn>`, newline, `<eos>` (recipe, section 2).

    Raises:
        RowError: a text cannot be formatted, or the prompt is no prefix of the conversation.
    """
    head = chat.conversation_ids(prompt)
    return PairTokens(
        head, _recipe_response(chat, prompt, head, chosen),
        _recipe_response(chat, prompt, head, rejected),
    )  # fmt: skip


def _recipe_response(
    chat: ChatFormat, prompt: Sequence[Message], head: list[int], text: str
) -> list[int]:
    ids = chat.conversation_ids([*prompt, {"role": "assistant", "content": text}])
    if ids[: len(head)] != head:
        raise RowError("prompt_not_a_prefix", f"{chat.name}: prompt and response merge")
    response = ids[len(head) :]
    end = chat.tokenizer.eos_token_id
    return response if response[-1:] == [end] or end is None else [*response, end]


def truncate(
    pair: PairTokens,
    how: Literal["drop", "right", "recipe"],
    max_length: int,
    max_prompt_length: int,
) -> PairTokens:
    """`pair` inside both limits; the same object where nothing had to be cut.

    Raises:
        RowError: `prompt_too_long`, or `pair_too_long` where `how` is drop.
    """
    if how == "recipe":
        return _truncate_as_published(pair, max_length, max_prompt_length)
    if len(pair.prompt) > max_prompt_length:
        raise RowError("prompt_too_long", f"{len(pair.prompt)} tokens of prompt")
    if pair.length <= max_length:
        return pair
    if how == "drop":
        raise RowError("pair_too_long", f"{pair.length} tokens")
    room = max_length - len(pair.prompt)
    return replace(pair, chosen=pair.chosen[:room], rejected=pair.rejected[:room])


def _truncate_as_published(pair: PairTokens, max_length: int, max_prompt_length: int) -> PairTokens:
    """The prompt keeps its end (losing BOS); then both responses their start (losing EOS)."""
    # The published code keeps 1,800 of 2,048 tokens for the prompt, though most need far fewer.
    if pair.length > max_length:
        pair = replace(pair, prompt=pair.prompt[-max_prompt_length:])
    if pair.length > max_length:
        # Even beside a short prompt: 2048 - 1800 leaves 248 tokens (recipe, section 2).
        room = max_length - max_prompt_length
        pair = replace(pair, chosen=pair.chosen[:room], rejected=pair.rejected[:room])
    return pair

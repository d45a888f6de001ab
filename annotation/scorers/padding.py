"""The token that fills a reward model's rows."""

from annotation.annotators.base import RewardModel
from contracts.chat import ChatFormat
from contracts.errors import UserError


def pad_id_of(
    config: RewardModel, chat: ChatFormat, named: int | None, vocabulary: int | None
) -> int:
    """The padding token's id.

    Args:
        named: what the model's config names.
        vocabulary: rows of its embedding, where they are known.

    Raises:
        UserError: there is none, it is unknown, or it is the end of turn, where it would pass
            for the end of every response.
    """
    way_out = "name one with the annotator's `pad_token`, e.g. a reserved special token"
    if config.pad_token is not None:
        pad = chat.tokenizer.get_vocab().get(config.pad_token)
        if pad is None:
            raise UserError(f"{chat.name}: has no token {config.pad_token!r}; {way_out}")
    else:
        pad = chat.tokenizer.pad_token_id if named is None else named
    if pad is None:
        raise UserError(f"{chat.name}: has no padding token; {way_out}")
    if pad == chat.end_of_turn_id:
        raise UserError(
            f"{chat.name}: its padding token is its end-of-turn token "
            f"{chat.tokenizer.convert_ids_to_tokens(pad)!r}; {way_out}"
        )
    if vocabulary is not None and not 0 <= pad < vocabulary:
        raise UserError(f"{chat.name}: padding id {pad} is outside the model's vocabulary")
    return pad

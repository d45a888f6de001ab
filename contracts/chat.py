"""The one place where a chat template is applied. Token ids come out, never text.

Text that a template rendered already holds a BOS; tokenising it with special tokens adds a
second one, the most common fault of published pipelines (recipe, section 6). Here text is
tokenised without special tokens, and what comes out is counted.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from contracts import clock
from contracts.errors import OnPolicyError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class RowError(OnPolicyError):
    """A row that cannot be formatted; `reason` is the key it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Tokens:
    """A conversation that ends in a response: `prompt + response + trailer` is the template's
    own rendering, token for token. Each is a list of token ids."""

    prompt: list[int]
    """Up to and including the assistant's header; one BOS where the tokenizer has one."""
    response: list[int]
    """The answer and its end of turn."""
    trailer: list[int]
    """What the template puts behind the end of turn (a newline, or nothing)."""


# A word of no template's, so that what is rendered around it is the template's own.
_PROBE = "onpolicy-probe"
_PROBE_TURNS: list[Message] = [
    {"role": "user", "content": _PROBE},
    {"role": "assistant", "content": _PROBE},
]


class ChatFormat:
    """A tokenizer and its chat template, checked once and applied everywhere."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        bos: Literal["template", "prepend"] = "template",
        date: datetime.date | None = None,
    ) -> None:
        """
        Args:
            date: the day that a template is told that reads the clock.

        Raises:
            UserError: no template, no end of turn, not exactly one BOS where the tokenizer
                has one, or no date for a template that reads the clock.
        """
        self.tokenizer = tokenizer
        self.name = tokenizer.name_or_path or type(tokenizer).__name__
        if not tokenizer.chat_template:
            raise UserError(
                f"{self.name}: the tokenizer has no chat template; use an instruction-tuned "
                "model, or put a chat_template.jinja beside its tokenizer"
            )
        self._told = self._tell(date)
        self._controls = self._control_tokens()
        self.bos_id = self._tokenizers_bos()
        self._prepend = bos == "prepend"
        self._check_bos()
        self.end_of_turn_id = self._find_end_of_turn()

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation that the assistant is to answer.

        Raises:
            RowError: there is no message, the template refuses them, or their text spells a
                control token.
        """
        return self._encode(messages, generate=True)

    def response_tokens(self, messages: Sequence[Message], response: str) -> Tokens:
        """Token ids of a conversation and the assistant's answer to it.

        Raises:
            RowError: for the reasons of `prompt_ids`; or the rendering does not begin with the
                prompt's own, or holds nothing of the answer.
        """
        ((tokens,),) = self.all_tokens([(messages, [response])])
        if isinstance(tokens, RowError):
            raise tokens
        return tokens

    def all_tokens(
        self, conversations: Iterable[tuple[Sequence[Message], Sequence[str]]]
    ) -> list[list[Tokens | RowError]]:
        """`response_tokens` of many prompts' responses, in order; a refused one's error stands in
        its place.

        Each prompt is tokenised once, and all texts in one call, which shares them out over the
        cores: five responses of UltraFeedback's to a prompt take 0.8 ms of CPU each in place of
        1.2.
        """
        rendered = [self._rendered(*conversation) for conversation in conversations]
        texts = [text for group in rendered for text in group if isinstance(text, str)]
        ids = iter(self._all_ids(texts))
        return [
            self._by_response(*(next(ids) if isinstance(text, str) else text for text in group))
            for group in rendered
        ]

    def _rendered(
        self, messages: Sequence[Message], responses: Sequence[str]
    ) -> list[str | RowError]:
        """The texts of the prompt and of each conversation."""
        answers: list[Message] = [{"role": "assistant", "content": text} for text in responses]
        asked = [(messages, True), *(([*messages, answer], False) for answer in answers)]
        texts: list[str | RowError] = []
        for turns, generate in asked:
            try:
                texts.append(self._text(turns, generate))
            except RowError as error:
                texts.append(error)
        return texts

    def _by_response(
        self, prompt: list[int] | RowError, *conversations: list[int] | RowError
    ) -> list[Tokens | RowError]:
        """Each conversation's tokens behind the prompt's, both as tokenised."""
        found: list[Tokens | RowError] = []
        for conversation in conversations:
            try:
                found.append(self._split(self._checked(prompt), self._checked(conversation)))
            except RowError as error:
                found.append(error)
        return found

    def _split(self, prompt: list[int], conversation_ids: list[int]) -> Tokens:
        # A tokenizer may merge the header's end with the answer's beginning; the answer was sampled
        # behind the header's own ids, so such a row would train on others.
        if conversation_ids[: len(prompt)] != prompt:
            raise RowError("prompt_not_a_prefix", f"{self.name}: prompt and response merge")
        rest = conversation_ids[len(prompt) :]
        if self.end_of_turn_id not in rest:
            raise RowError("no_end_of_turn", f"{self.name}: the response has no end of turn")
        end = len(rest) - rest[::-1].index(self.end_of_turn_id)
        if rest.index(self.end_of_turn_id) != end - 1:
            raise RowError("special_token_in_text", f"{self.name}: a turn ends in mid-response")
        if end == 1:
            raise RowError("empty_response", f"{self.name}: the response has no token")
        return Tokens(prompt, rest[:end], rest[end:])

    def conversation_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a finished conversation, without a header for another answer."""
        return self._encode(messages, generate=False)

    def header_ids(self) -> list[int]:
        """Ids from the end of the user's turn to the end of the assistant's header.

        For Llama-3 these are the five ids that ArmoRM's gate looks for (recipe, section 3).
        """
        return self._ids(self._probe(1, generate=True).rpartition(_PROBE)[2])

    def _encode(self, messages: Sequence[Message], generate: bool) -> list[int]:
        return self._checked(self._ids(self._text(messages, generate)))

    def _text(self, messages: Sequence[Message], generate: bool) -> str:
        """What the template makes of messages that it may be given."""
        if not messages:
            raise RowError("no_message", f"{self.name}: the conversation has no message")
        # A tokenizer reads them as what they are wherever they stand: `<end_of_turn>` in a prompt
        # would end it, and what follows would speak as somebody else.
        for message in messages:
            text = f"{message['role']}\n{message['content']}"
            if control := next((token for token in self._controls.values() if token in text), None):
                raise RowError("special_token_in_text", f"{self.name}: {control} inside the text")
        return self._render(messages, generate)

    def _checked(self, ids: list[int] | RowError) -> list[int]:
        """A rendering's ids with one BOS; an error in their place is raised."""
        if isinstance(ids, RowError):
            raise ids
        if self._prepend and self.bos_id is not None:
            ids = [self.bos_id, *ids]
        if self.bos_id is not None and (ids[0] != self.bos_id or ids.count(self.bos_id) != 1):
            raise RowError("not_one_bos", f"{self.name}: {ids.count(self.bos_id)} BOS tokens")
        return ids

    def _tell(self, date: datetime.date | None) -> dict[str, Any]:
        if date is not None:
            return clock.told(date)
        templates = self.tokenizer.chat_template
        texts = templates.values() if isinstance(templates, dict) else [templates]
        if any(map(clock.reads_clock, texts)):
            raise UserError(
                f"{self.name}: the chat template reads the clock, so tomorrow the same question "
                "would be another prompt; set its `date`, e.g. `date: 2024-07-26` (`onpolicy run` "
                "does so for the whole run)"
            )
        return {}

    def _render(self, messages: Sequence[Message], generate: bool) -> str:
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=generate, **self._told
            )
        except TemplateSyntaxError as error:
            where = f"{self.name}: chat template, line {error.lineno}"
            raise RowError("template_refused", f"{where}: {error.message}") from None
        except TemplateError as error:
            raise RowError("template_refused", f"{self.name}: {error}") from None
        return str(text)

    def _ids(self, text: str) -> list[int]:
        return self._all_ids([text])[0]

    def _all_ids(self, texts: list[str]) -> list[list[int]]:
        return list(self.tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []

    def _control_tokens(self) -> dict[int, str]:
        """Id and text of the tokens that no message may spell: every tokenizer would read them.

        A token of the template's own is one of them even where it is not marked special.
        """
        scaffold = self._probe(2).replace(_PROBE, "")
        return {
            number: token.content
            for number, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or (token.content.strip() and token.content in scaffold)
        }

    def _tokenizers_bos(self) -> int | None:
        """The BOS id, where the tokenizer has one and begins text with it.

        Qwen's tokenizers name no BOS; some others name one but never use it, or (SmolLM2) name
        the token that opens every turn.
        """
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return None
        if self.tokenizer(_PROBE)["input_ids"][:1] == [bos]:
            return bos
        one_turn = self._ids(self._probe(1)).count(bos)
        two_turns = self._ids(self._probe(2)).count(bos)
        return bos if one_turn and one_turn == two_turns else None

    def _probe(self, turns: int, generate: bool = False) -> str:
        try:
            return self._render(_PROBE_TURNS[:turns], generate)
        except RowError as error:
            raise UserError(f"{error} (the chat template refuses even a plain question)") from None

    def _check_bos(self) -> None:
        if self.bos_id is None:
            return
        count = self._ids(self._probe(1, generate=True)).count(self.bos_id) + self._prepend
        if count == 0:
            raise UserError(
                f"{self.name}: the chat template gives no BOS, though the tokenizer has one; "
                "set `bos: prepend` beside its path (`policy.bos`, or an annotator's own) to "
                "add it once"
            )
        if count > 1:
            raise UserError(
                f"{self.name}: the chat template gives {count} BOS tokens instead of one; "
                + ("set `bos: template`" if self._prepend else "remove one from the template")
            )

    def _find_end_of_turn(self) -> int:
        after = self._ids(self._probe(2).rpartition(_PROBE)[2])
        if not after or after[0] not in self._controls:
            raise UserError(
                f"{self.name}: the chat template ends an answer without an end-of-turn token; "
                "a policy trained on it could not stop"
            )
        return after[0]

"""Chat templates: what a tokenizer of its own kind gives, and what is refused and why."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.chat import ChatFormat, Message, RowError
from contracts.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOT = "<|begin_of_text|>", "<|eot_id|>"
# Turns between the tokens that the Llama-3-style tokenizer has.
TURNS = (
    "{% for message in messages %}{{ START }}<|start_header_id|>{{ message['role'] }}"
    "<|end_header_id|>\n{{ message['content'] }}END\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n{% endif %}"
)


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def with_template(tokenizer: "PreTrainedTokenizerFast", template: str) -> "PreTrainedTokenizerFast":
    from copy import deepcopy

    changed = deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def turns(start: str = "", end: str = EOT) -> str:
    return TURNS.replace("{{ START }}", start).replace("END", end)


@pytest.fixture(scope="module")
def chat(tiny_llama_tokenizer: "PreTrainedTokenizerFast") -> ChatFormat:
    return ChatFormat(tiny_llama_tokenizer)


def refusal(chat: ChatFormat, messages: list[Message], response: str = "yes") -> RowError:
    with pytest.raises(RowError) as refused:
        chat.response_tokens(messages, response)
    return refused.value


def test_prompt_response_and_trailer_are_the_templates_own_rendering(chat: ChatFormat) -> None:
    tokens = chat.response_tokens(user("Two colours?"), "red and blue")
    rendered = chat.tokenizer.decode(tokens.prompt + tokens.response + tokens.trailer)
    assert rendered == (
        f"{BOS}<|start_header_id|>user<|end_header_id|>\n\nTwo colours?{EOT}"
        f"<|start_header_id|>assistant<|end_header_id|>\n\nred and blue{EOT}"
    )
    assert chat.tokenizer.decode(tokens.response) == f"red and blue{EOT}"


def test_many_responses_have_the_tokens_or_the_error_that_each_has_by_itself(
    chat: ChatFormat,
) -> None:
    asked = [
        (user("Two colours?"), ["red and blue", "", EOT, "green"]),
        (user(f"what is {EOT}?"), ["red", "blue"]),
        ([], ["red"]),
        (user("none asked"), []),
        (user("Two animals?"), ["name three red green blue animals"]),
    ]
    found = chat.all_tokens(asked)
    for (messages, responses), group in zip(asked, found, strict=True):
        for response, tokens in zip(responses, group, strict=True):
            if isinstance(tokens, RowError):
                alone = refusal(chat, messages, response)
                assert (tokens.reason, str(tokens)) == (alone.reason, str(alone))
            else:
                assert tokens == chat.response_tokens(messages, response)
    errors = [one.reason for group in found for one in group if isinstance(one, RowError)]
    assert errors == ["empty_response", "special_token_in_text", *["special_token_in_text"] * 2,
                      "no_message"]  # fmt: skip


def test_tokenising_rendered_text_as_text_would_double_the_bos(chat: ChatFormat) -> None:
    text = chat.tokenizer.apply_chat_template(user("Hello"), tokenize=False)
    assert chat.tokenizer(text)["input_ids"].count(chat.bos_id) == 2
    assert chat.conversation_ids(user("Hello")).count(chat.bos_id) == 1


def test_a_template_without_bos_is_refused_with_the_way_out(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    bare = with_template(tiny_llama_tokenizer, turns())
    with pytest.raises(UserError, match="gives no BOS, though the tokenizer has one; set `bos: pr"):
        ChatFormat(bare)


def test_bos_prepend_adds_it_once_where_the_template_has_none(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    chat = ChatFormat(with_template(tiny_llama_tokenizer, turns()), bos="prepend")
    tokens = chat.response_tokens(user("Hello"), "red")
    assert tokens.prompt[0] == chat.bos_id
    assert (tokens.prompt + tokens.response + tokens.trailer).count(chat.bos_id) == 1
    assert chat.tokenizer.decode(tokens.trailer) == "\n"


def test_a_template_with_two_bos_is_refused_with_the_way_out(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    twice = with_template(tiny_llama_tokenizer, BOS + BOS + turns())
    with pytest.raises(UserError, match="gives 2 BOS tokens instead of one; remove one from"):
        ChatFormat(twice)


def test_bos_prepend_on_top_of_the_templates_own_is_refused_with_the_way_out(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    with pytest.raises(UserError, match="gives 2 BOS tokens instead of one; set `bos: template`"):
        ChatFormat(tiny_llama_tokenizer, bos="prepend")


def test_a_bos_with_every_question_is_refused_for_conversations_that_hold_two(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    each = turns(start="{% if message['role'] == 'user' %}" + BOS + "{% endif %}")
    chat = ChatFormat(with_template(tiny_llama_tokenizer, each))  # as Llama-2's template
    assert chat.prompt_ids(user("one"))[0] == chat.bos_id
    again: list[Message] = [*user("one"), {"role": "assistant", "content": "two"}, *user("three")]
    assert refusal(chat, again).reason == "not_one_bos"


def test_a_bos_token_that_opens_every_turn_is_a_turn_marker(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    tokenizer = with_template(tiny_llama_tokenizer, turns())
    opener = "<|start_header_id|>"  # as SmolLM2's <|im_start|>
    tokenizer.bos_token = opener
    chat = ChatFormat(tokenizer)
    assert chat.bos_id is None
    assert chat.response_tokens(user("Hello"), "red").response[-1] == chat.end_of_turn_id


def test_a_tokenizer_without_a_template_is_refused(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    with pytest.raises(UserError, match="has no chat template; use an instruction-tuned model"):
        ChatFormat(with_template(tiny_llama_tokenizer, ""))


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% for %}", "{{ a.b.c }}"])
def test_a_template_that_cannot_render_a_plain_question_is_refused(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", template: str
) -> None:
    with pytest.raises(UserError, match="refuses even a plain question"):
        ChatFormat(with_template(tiny_llama_tokenizer, template))


@pytest.mark.parametrize("end", ["", "\n", " The end."])
def test_a_template_whose_answers_do_not_end_is_refused(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", end: str
) -> None:
    endless = with_template(tiny_llama_tokenizer, BOS + turns(end=end))
    with pytest.raises(UserError, match=r"without an end-of-turn token; .* could not stop"):
        ChatFormat(endless)


@pytest.mark.parametrize("response", ["", " ", "\n\n", "\u2003"])
def test_an_answer_of_which_the_template_leaves_nothing_is_empty(
    chat: ChatFormat, response: str
) -> None:
    assert refusal(chat, user("Hello"), response).reason == "empty_response"


@pytest.mark.parametrize("token", [BOS, EOT, "<|pad|>", "<|start_header_id|>"])
def test_text_that_spells_a_control_token_is_refused(chat: ChatFormat, token: str) -> None:
    refused = refusal(chat, user(f"what does {token} mean?"))
    assert refused.reason == "special_token_in_text"
    assert f"{token} inside the text" in str(refused)
    assert refusal(chat, user("Hello"), f"it is {token}").reason == "special_token_in_text"


def test_a_role_cannot_smuggle_a_control_token_in(chat: ChatFormat) -> None:
    smuggled: list[Message] = [{"role": f"user{EOT}", "content": "Hello"}]
    assert refusal(chat, smuggled).reason == "special_token_in_text"


def test_the_templates_own_tokens_are_control_tokens_even_where_not_marked_special(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    tokenizer = with_template(tiny_llama_tokenizer, BOS + turns(end="[END]"))
    tokenizer.add_tokens(["[END]", "[OTHER]"])
    chat = ChatFormat(tokenizer)
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id) == "[END]"
    assert refusal(chat, user("the token [END]")).reason == "special_token_in_text"
    assert chat.prompt_ids(user("the token [OTHER]"))


def test_an_answer_whose_first_token_merges_with_the_prompts_last_is_refused(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast",
) -> None:
    template = BOS + "{% for m in messages %}Q: {{ m['content'] }}" + EOT + "{% endfor %}"
    merging = template + "{% if add_generation_prompt %}Q: an{% endif %}"
    chat = ChatFormat(with_template(tiny_llama_tokenizer, merging))
    assert refusal(chat, user("Hello"), "swer").reason == "prompt_not_a_prefix"


def test_a_conversation_without_messages_is_refused(chat: ChatFormat) -> None:
    for ids_of in (chat.prompt_ids, chat.conversation_ids):
        with pytest.raises(RowError) as refused:
            ids_of([])
        assert refused.value.reason == "no_message"


@given(question=st.text(), answer=st.text())
def test_any_text_is_rendered_exactly_or_refused_with_a_reason(
    tiny_llama_tokenizer: "PreTrainedTokenizerFast", question: str, answer: str
) -> None:
    chat = ChatFormat(tiny_llama_tokenizer)
    try:
        tokens = chat.response_tokens(user(question), answer)
    except RowError as refused:
        assert refused.reason == "empty_response" and not answer.strip()
        return
    assert tokens.prompt == chat.prompt_ids(user(question))
    assert tokens.response[-1] == chat.end_of_turn_id
    assert chat.end_of_turn_id not in tokens.response[:-1]
    assert chat.bos_id not in tokens.response
    decode = chat.tokenizer.decode
    assert decode(tokens.response[:-1]) == answer.strip()
    assert f"<|end_header_id|>\n\n{question.strip()}{EOT}" in decode(tokens.prompt)

"""Every published chat template, on both kinds of real tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.chat import ChatFormat, Message, RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = [
    "gemma-2-it",
    "gemma-2-it.simpo-training",
    "llama-3-instruct",
    "mistral-7b-instruct-v0.2",
    "qwen2.5-instruct",
]
TOKENIZERS = {
    "gemma": "gemma_cropped.json",
    "llama-3": "llama3_small_derived/tokenizer.json",
}
PAIRS = [(template, tokenizer) for template in TEMPLATES for tokenizer in TOKENIZERS]
TRIMMING = ("gemma-2-it", "gemma-2-it.simpo-training", "llama-3-instruct")

Load = Callable[[str, str], ChatFormat]

QUESTION: list[Message] = [{"role": "user", "content": "hello world"}]
CONVERSATION: list[Message] = [
    *QUESTION,
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "tell me more"},
]


def load_tokenizer(data: Path, template: str, tokenizer: str) -> "PreTrainedTokenizerFast":
    """A real tokenizer that takes a template's special tokens for its own."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = json.loads((data / "templates" / "tokens.json").read_text())[template]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(data / "tokenizers" / TOKENIZERS[tokenizer])),
        bos_token=tokens["bos"],
        eos_token=tokens["eos"],
        additional_special_tokens=[tokens["turn_end"]],
        chat_template=(data / "templates" / f"{template}.jinja").read_text(),
    )


@pytest.fixture(scope="module")
def load(shared_data: Path) -> Load:
    formats: dict[tuple[str, str], ChatFormat] = {}

    def loaded(template: str, tokenizer: str) -> ChatFormat:
        key = template, tokenizer
        if key not in formats:
            formats[key] = ChatFormat(load_tokenizer(shared_data, *key))
        return formats[key]

    return loaded


def rendering(chat: ChatFormat, messages: list[Message]) -> list[int]:
    """The template's own rendering of a whole conversation, in token ids."""
    text = chat.tokenizer.apply_chat_template(messages, tokenize=False)
    return list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_no_published_template_is_left_out(shared_data: Path) -> None:
    assert sorted(path.stem for path in (shared_data / "templates").glob("*.jinja")) == TEMPLATES


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
@pytest.mark.parametrize("messages", [QUESTION, CONVERSATION], ids=["one turn", "two turns"])
def test_prompt_response_and_trailer_equal_the_templates_rendering(
    load: Load, template: str, tokenizer: str, messages: list[Message]
) -> None:
    chat = load(template, tokenizer)
    tokens = chat.response_tokens(messages, "a red bead")
    whole = rendering(chat, [*messages, {"role": "assistant", "content": "a red bead"}])
    assert tokens.prompt + tokens.response + tokens.trailer == whole
    assert (
        chat.conversation_ids([*messages, {"role": "assistant", "content": "a red bead"}]) == whole
    )


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
def test_there_is_one_bos_in_front_or_none_where_the_tokenizer_has_none(
    load: Load, shared_data: Path, template: str, tokenizer: str
) -> None:
    chat = load(template, tokenizer)
    bos = json.loads((shared_data / "templates" / "tokens.json").read_text())[template]["bos"]
    tokens = chat.response_tokens(CONVERSATION, "a red bead")
    if bos is None:
        assert chat.bos_id is None
    else:
        assert chat.tokenizer.convert_ids_to_tokens(tokens.prompt[0]) == bos
        assert (tokens.prompt + tokens.response + tokens.trailer).count(chat.bos_id) == 1


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
def test_an_answer_ends_with_the_published_end_of_turn(
    load: Load, shared_data: Path, template: str, tokenizer: str
) -> None:
    chat = load(template, tokenizer)
    tokens = json.loads((shared_data / "templates" / "tokens.json").read_text())[template]
    response = chat.response_tokens(QUESTION, "a red bead").response
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id) == tokens["turn_end"]
    assert response[-1] == chat.end_of_turn_id
    assert response.count(chat.end_of_turn_id) == 1


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
def test_text_that_spells_a_templates_own_end_of_turn_is_refused(
    load: Load, template: str, tokenizer: str
) -> None:
    chat = load(template, tokenizer)
    turn_end = chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id)
    with pytest.raises(RowError) as refused:
        chat.prompt_ids([{"role": "user", "content": f"what is {turn_end}?"}])
    assert refused.value.reason == "special_token_in_text"


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
def test_a_system_message_is_rendered_or_refused_as_the_template_says(
    load: Load, template: str, tokenizer: str
) -> None:
    chat = load(template, tokenizer)
    messages: list[Message] = [{"role": "system", "content": "be brief"}, *QUESTION]
    if template in ("gemma-2-it", "mistral-7b-instruct-v0.2"):
        with pytest.raises(RowError) as refused:
            chat.prompt_ids(messages)
        assert refused.value.reason == "template_refused"
    else:
        tokens = chat.response_tokens(messages, "a red bead")
        assert "be br" in chat.tokenizer.decode(tokens.prompt).replace("▁", " ")


@pytest.mark.parametrize("template", TEMPLATES)
def test_white_space_around_an_answer_is_the_templates_affair(load: Load, template: str) -> None:
    chat = load(template, "llama-3")
    response = chat.response_tokens(QUESTION, "  a red bead\n").response[:-1]
    kept = "a red bead" if template in TRIMMING else "  a red bead\n"
    assert chat.tokenizer.decode(response) == kept


@pytest.mark.parametrize(("template", "tokenizer"), PAIRS)
def test_an_empty_answer_is_refused(load: Load, template: str, tokenizer: str) -> None:
    with pytest.raises(RowError) as refused:
        load(template, tokenizer).response_tokens(QUESTION, "")
    assert refused.value.reason == "empty_response"


@pytest.mark.parametrize(
    ("template", "tokenizer", "answer"),
    [
        # Mistral's prompt ends in plain text: `]` and a newline are one token together.
        ("mistral-7b-instruct-v0.2", "llama-3", "\nhello"),
        # This cropped vocabulary has a token for the newline of Gemma's header and `hello`.
        ("gemma-2-it", "gemma", "hello"),
    ],
)
def test_an_answer_that_merges_with_the_prompts_end_is_refused(
    load: Load, template: str, tokenizer: str, answer: str
) -> None:
    with pytest.raises(RowError) as refused:
        load(template, tokenizer).response_tokens(QUESTION, answer)
    assert refused.value.reason == "prompt_not_a_prefix"


@pytest.mark.parametrize("template", TEMPLATES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(question=st.text(), answer=st.text())
def test_any_text_equals_its_rendering_or_is_refused_with_a_reason(
    load: Load, template: str, question: str, answer: str
) -> None:
    chat = load(template, "llama-3")
    messages: list[Message] = [{"role": "user", "content": question}]
    try:
        tokens = chat.response_tokens(messages, answer)
    except RowError as refused:
        known = ("empty_response", "prompt_not_a_prefix", "special_token_in_text")
        assert refused.reason in known
        assert refused.reason != "prompt_not_a_prefix" or template not in TRIMMING
        return
    whole = rendering(chat, [*messages, {"role": "assistant", "content": answer}])
    assert tokens.prompt + tokens.response + tokens.trailer == whole
    assert tokens.prompt == chat.prompt_ids(messages)
    text = chat.tokenizer.decode(tokens.response[:-1])
    assert text == (answer.strip() if template in TRIMMING else answer)


def test_real_questions_and_answers_go_through_every_template(
    load: Load, shared_data: Path
) -> None:
    lines = (shared_data / "ultrafeedback" / "train_1000.jsonl").read_text().split("\n")[:150]
    rows = [json.loads(line) for line in lines]
    for template in TEMPLATES:
        chat = load(template, "llama-3")
        refused: dict[str, int] = {}
        for row in rows:
            question: list[Message] = [{"role": "user", "content": row["prompt"]}]
            try:
                tokens = chat.response_tokens(question, row["chosen"])
            except RowError as error:
                refused[error.reason] = refused.get(error.reason, 0) + 1
            else:
                answer: Message = {"role": "assistant", "content": row["chosen"]}
                whole = rendering(chat, [*question, answer])
                assert tokens.prompt + tokens.response + tokens.trailer == whole
        assert sum(refused.values()) <= 3, refused


def test_the_header_is_what_stands_between_question_and_answer(load: Load) -> None:
    chat = load("llama-3-instruct", "llama-3")
    header = chat.header_ids()
    assert chat.tokenizer.decode(header) == (
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert chat.prompt_ids(CONVERSATION)[-len(header) :] == header


def test_on_llama_3s_vocabulary_the_header_is_the_five_ids_of_armorms_gate(
    shared_data: Path,
) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # The published ids of the tokens that matter, out of 128,256 (recipe, section 3).
    begin, eot = "<|begin_of_text|>", "<|eot_id|>"
    specials = {begin: 128000, "<|start_header_id|>": 128006, "<|end_header_id|>": 128007}
    specials[eot] = 128009
    words = {"\n\n": 271, "assistant": 78191, "user": 882, "?": 30}
    tokenizer = Tokenizer(models.WordLevel({**specials, **words}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n\n|[\w-]+"), "isolated")
    tokenizer.add_special_tokens(list(specials))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=eot)
    fast.chat_template = (shared_data / "templates" / "llama-3-instruct.jinja").read_text()
    chat = ChatFormat(fast)
    assert chat.header_ids() == [128009, 128006, 78191, 128007, 271]

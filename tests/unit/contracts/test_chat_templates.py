"""Chat templates of every trait, our own and the published ones, on two kinds of tokenizer."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from chat_families import (
    OWN,
    OWN_FOLDER,
    PUBLISHED,
    SPLITS,
    Family,
    own_tokenizer,
    published_tokenizer,
)
from checkout import CHECKOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.chat import ChatFormat, Message, RowError
from contracts.clock import reads_clock, told

TOKENIZERS = {
    "gemma": "gemma_cropped.json",
    "llama-3": "llama3_small_derived/tokenizer.json",
}
# The second of each kind cuts text into words as Llama-3's does.
KINDS = {False: SPLITS, True: tuple(TOKENIZERS)}
FAMILIES = [*OWN, *PUBLISHED]
BY_NAME = {family.name: family for family in FAMILIES}
PAIRS = [(family, kind) for family in FAMILIES for kind in KINDS[family.published]]
DAY = date(2026, 3, 2)

Load = Callable[[Family, str], ChatFormat]

every_pair = pytest.mark.parametrize(("family", "tokenizer"), PAIRS, ids=str)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=str)

QUESTION: list[Message] = [{"role": "user", "content": "hello world"}]
CONVERSATION: list[Message] = [
    *QUESTION,
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "tell me more"},
]


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest) -> Load:
    formats: dict[tuple[Family, str], ChatFormat] = {}

    def loaded(family: Family, tokenizer: str) -> ChatFormat:
        if (family, tokenizer) not in formats:
            found = made(request, family, tokenizer)
            formats[family, tokenizer] = ChatFormat(found, date=DAY if family.clock else None)
        return formats[family, tokenizer]

    return loaded


def made(request: pytest.FixtureRequest, family: Family, tokenizer: str) -> Any:
    """A family's tokenizer; of a published one the test is skipped without its data."""
    if not family.published:
        return own_tokenizer(family, tokenizer)
    data: Path = request.getfixturevalue("shared_data")
    return published_tokenizer(family, data, TOKENIZERS[tokenizer])


def rendering(chat: ChatFormat, messages: list[Message]) -> list[int]:
    """The template's own rendering of a whole conversation, in token ids."""
    text = chat.tokenizer.apply_chat_template(messages, tokenize=False, **told(DAY))
    return list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_no_template_is_left_out() -> None:
    assert sorted(path.stem for path in OWN_FOLDER.glob("*.jinja")) == sorted(map(str, OWN))


def test_no_published_template_is_left_out(shared_data: Path) -> None:
    found = sorted(path.stem for path in (shared_data / "templates").glob("*.jinja"))
    assert found == sorted(map(str, PUBLISHED))


@every_family
def test_a_template_is_told_the_date_if_and_only_if_it_reads_the_clock(
    load: Load, family: Family
) -> None:
    chat = load(family, KINDS[family.published][1])
    assert reads_clock(chat.tokenizer.chat_template) == family.clock
    tomorrow = ChatFormat(chat.tokenizer, date=date(2026, 3, 3))
    for messages in (QUESTION, CONVERSATION):
        moved = tomorrow.prompt_ids(messages) != chat.prompt_ids(messages)
        assert moved == family.clock


@every_pair
@pytest.mark.parametrize("messages", [QUESTION, CONVERSATION], ids=["one turn", "two turns"])
def test_prompt_response_and_trailer_equal_the_templates_rendering(
    load: Load, family: Family, tokenizer: str, messages: list[Message]
) -> None:
    chat = load(family, tokenizer)
    tokens = chat.response_tokens(messages, "a red bead")
    whole = rendering(chat, [*messages, {"role": "assistant", "content": "a red bead"}])
    assert tokens.prompt + tokens.response + tokens.trailer == whole
    assert (
        chat.conversation_ids([*messages, {"role": "assistant", "content": "a red bead"}]) == whole
    )


@every_pair
def test_there_is_one_bos_in_front_or_none_where_the_tokenizer_has_none(
    load: Load, family: Family, tokenizer: str
) -> None:
    chat = load(family, tokenizer)
    tokens = chat.response_tokens(CONVERSATION, "a red bead")
    if family.bos is None:
        assert chat.bos_id is None
    else:
        assert chat.tokenizer.convert_ids_to_tokens(tokens.prompt[0]) == family.bos
        assert (tokens.prompt + tokens.response + tokens.trailer).count(chat.bos_id) == 1


@every_pair
def test_an_answer_ends_with_the_familys_end_of_turn(
    load: Load, family: Family, tokenizer: str
) -> None:
    chat = load(family, tokenizer)
    response = chat.response_tokens(QUESTION, "a red bead").response
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id) == family.end
    assert response[-1] == chat.end_of_turn_id
    assert response.count(chat.end_of_turn_id) == 1


@every_pair
def test_text_that_spells_a_templates_own_end_of_turn_is_refused(
    load: Load, family: Family, tokenizer: str
) -> None:
    chat = load(family, tokenizer)
    turn_end = chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id)
    with pytest.raises(RowError) as refused:
        chat.prompt_ids([{"role": "user", "content": f"what is {turn_end}?"}])
    assert refused.value.reason == "special_token_in_text"


@every_pair
def test_a_system_message_is_rendered_or_refused_as_the_template_says(
    load: Load, family: Family, tokenizer: str
) -> None:
    chat = load(family, tokenizer)
    messages: list[Message] = [{"role": "system", "content": "be brief"}, *QUESTION]
    if not family.system:
        with pytest.raises(RowError) as refused:
            chat.prompt_ids(messages)
        assert refused.value.reason == "template_refused"
    else:
        tokens = chat.response_tokens(messages, "a red bead")
        assert "be br" in chat.tokenizer.decode(tokens.prompt).replace("▁", " ")


@every_family
def test_white_space_around_an_answer_is_the_templates_affair(load: Load, family: Family) -> None:
    chat = load(family, KINDS[family.published][1])
    response = chat.response_tokens(QUESTION, "  a red bead\n").response[:-1]
    kept = "a red bead" if family.trims else "  a red bead\n"
    assert chat.tokenizer.decode(response) == kept


@every_pair
def test_an_empty_answer_is_refused(load: Load, family: Family, tokenizer: str) -> None:
    with pytest.raises(RowError) as refused:
        load(family, tokenizer).response_tokens(QUESTION, "")
    assert refused.value.reason == "empty_response"


@pytest.mark.parametrize(
    ("name", "tokenizer", "answer"),
    [
        # Such a prompt ends in plain text: `]` and a newline are one token together.
        ("plain-turns", "words", "\nhello"),
        ("mistral-7b-instruct-v0.2", "llama-3", "\nhello"),
        # This cropped vocabulary has a token for the newline of Gemma's header and `hello`.
        ("gemma-2-it", "gemma", "hello"),
    ],
)
def test_an_answer_that_merges_with_the_prompts_end_is_refused(
    load: Load, name: str, tokenizer: str, answer: str
) -> None:
    with pytest.raises(RowError) as refused:
        load(BY_NAME[name], tokenizer).response_tokens(QUESTION, answer)
    assert refused.value.reason == "prompt_not_a_prefix"


@every_family
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(question=st.text(), answer=st.text())
def test_any_text_equals_its_rendering_or_is_refused_with_a_reason(
    load: Load, family: Family, question: str, answer: str
) -> None:
    chat = load(family, KINDS[family.published][1])
    messages: list[Message] = [{"role": "user", "content": question}]
    try:
        tokens = chat.response_tokens(messages, answer)
    except RowError as refused:
        known = ("empty_response", "prompt_not_a_prefix", "special_token_in_text")
        assert refused.reason in known
        assert refused.reason != "prompt_not_a_prefix" or not family.trims
        return
    whole = rendering(chat, [*messages, {"role": "assistant", "content": answer}])
    assert tokens.prompt + tokens.response + tokens.trailer == whole
    assert tokens.prompt == chat.prompt_ids(messages)
    text = chat.tokenizer.decode(tokens.response[:-1])
    assert text == (answer.strip() if family.trims else answer)


def test_real_questions_and_answers_go_through_every_template(
    load: Load, shared_data: Path
) -> None:
    lines = (shared_data / "ultrafeedback" / "train_1000.jsonl").read_text().split("\n")[:150]
    rows = [json.loads(line) for line in lines]
    for family in FAMILIES:
        chat = load(family, KINDS[family.published][1])
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


@pytest.mark.parametrize(("name", "between"), [
    ("header-turns", "<end><head>assistant</head>\n\n"),
    ("no-bos", "<end>\n<start>assistant\n"),
    ("llama-3-instruct", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
])  # fmt: skip
def test_the_header_is_what_stands_between_question_and_answer(
    load: Load, name: str, between: str
) -> None:
    chat = load(BY_NAME[name], KINDS[BY_NAME[name].published][1])
    header = chat.header_ids()
    assert chat.tokenizer.decode(header) == between
    assert chat.prompt_ids(CONVERSATION)[-len(header) :] == header


@pytest.mark.parametrize("name", ["folds-system", "gemma-2-it.simpo-training"])
def test_a_folded_system_message_is_the_beginning_of_the_users_turn(load: Load, name: str) -> None:
    family = BY_NAME[name]
    chat = load(family, KINDS[family.published][1])
    system: list[Message] = [{"role": "system", "content": " be brief "}, *CONVERSATION]
    folded: list[Message] = [{"role": "user", "content": "be brief\n\nhello world"}]
    assert chat.prompt_ids(system) == chat.prompt_ids([*folded, *CONVERSATION[1:]])


def test_on_llama_3s_vocabulary_the_header_is_the_five_ids_of_armorms_gate() -> None:
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
    fast.chat_template = (CHECKOUT / "demo" / "llama-3-instruct.jinja").read_text()
    chat = ChatFormat(fast)
    assert chat.header_ids() == [128009, 128006, 78191, 128007, 271]

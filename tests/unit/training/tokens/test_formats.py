"""Which tokens are trained on: by hand, and against a re-statement of the published code."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.chat import ChatFormat, RowError
from contracts.models.model import load_tokenizer
from training.tokens.formats import PairTokens, recipe, standard, truncate

PROMPT = [{"role": "user", "content": "Give me two colours."}]


@pytest.fixture(scope="module")
def chat(tiny_gemma: Path) -> ChatFormat:
    return ChatFormat(load_tokenizer(str(tiny_gemma)))


def text(chat: ChatFormat, ids: list[int]) -> str:
    return chat.tokenizer.decode(ids)


def test_standard_trains_on_the_answer_and_its_end_of_turn(chat: ChatFormat) -> None:
    pair = standard(chat, PROMPT, "red and blue", "green")
    assert text(chat, pair.prompt) == (
        "<bos><start_of_turn>user\nGive me two colours.<end_of_turn>\n<start_of_turn>model\n"
    )
    assert text(chat, pair.chosen) == "red and blue<end_of_turn>"
    assert text(chat, pair.rejected) == "green<end_of_turn>"


def test_recipe_has_header_newline_and_end_of_sequence_in_the_mean(chat: ChatFormat) -> None:
    pair = recipe(chat, PROMPT, "red and blue", "green")
    assert (
        text(chat, pair.prompt) == "<bos><start_of_turn>user\nGive me two colours.<end_of_turn>\n"
    )
    assert text(chat, pair.chosen) == "<start_of_turn>model\nred and blue<end_of_turn>\n<eos>"
    assert text(chat, pair.rejected) == "<start_of_turn>model\ngreen<end_of_turn>\n<eos>"
    # Six tokens beside the answer's where "model" is one token, as in Gemma's vocabulary.
    answer, role = (len(chat.tokenizer.tokenize(word)) for word in ("green", "model"))
    assert len(pair.rejected) - answer == 6 + role - 1


def ids(prompt: int, chosen: int, rejected: int) -> PairTokens:
    return PairTokens(
        list(range(prompt)),
        list(range(5000, 5000 + chosen)),
        list(range(9000, 9000 + rejected)),
    )


def test_a_pair_that_fits_is_left_alone() -> None:
    pair = ids(1800, 248, 100)
    assert all(truncate(pair, how, 2048, 1800) is pair for how in ("drop", "right", "recipe"))


def test_recipe_truncation_keeps_the_prompts_end_first() -> None:
    cut = truncate(ids(1900, 200, 100), "recipe", 2048, 1800)
    assert cut.prompt == list(range(100, 1900))
    assert (len(cut.chosen), len(cut.rejected)) == (200, 100)


def test_recipe_truncation_cuts_both_responses_to_248_even_beside_a_short_prompt() -> None:
    cut = truncate(ids(300, 2000, 400), "recipe", 2048, 1800)
    assert (len(cut.prompt), len(cut.chosen), len(cut.rejected)) == (300, 248, 248)
    assert cut.chosen[0] == 5000


def test_right_truncation_cuts_only_what_sticks_out() -> None:
    cut = truncate(ids(1000, 2000, 400), "right", 2048, 1800)
    assert (len(cut.prompt), len(cut.chosen), len(cut.rejected)) == (1000, 1048, 400)


@pytest.mark.parametrize(
    ("pair", "how", "reason"),
    [
        (ids(1801, 1, 1), "right", "prompt_too_long"),
        (ids(1801, 1, 1), "drop", "prompt_too_long"),
        (ids(1000, 1, 1049), "drop", "pair_too_long"),
    ],
)
def test_what_does_not_fit_is_dropped_with_its_reason(
    pair: PairTokens, how: Any, reason: str
) -> None:
    with pytest.raises(RowError) as error:
        truncate(pair, how, 2048, 1800)
    assert error.value.reason == reason


def published(
    tokenizer: Any, prompt: str, chosen: str, rejected: str, max_length: int, max_prompt: int
) -> PairTokens:
    """SimPO's `tokenize_row`, re-stated from the texts that its chat template gives."""

    def answer(text: str) -> list[int]:
        whole = tokenizer(prompt + text, add_special_tokens=False).input_ids
        rest = whole[len(tokenizer(prompt, add_special_tokens=False).input_ids) :]
        return rest if rest[-1] == tokenizer.eos_token_id else [*rest, tokenizer.eos_token_id]

    head = tokenizer(prompt, add_special_tokens=False).input_ids
    if head[0] != tokenizer.bos_token_id:
        head = [tokenizer.bos_token_id, *head]
    answers = [answer(chosen), answer(rejected)]
    longer = max(map(len, answers))
    if len(head) + longer > max_length:
        head = head[-max_prompt:]
    if len(head) + longer > max_length:
        answers = [ids[: max_length - max_prompt] for ids in answers]
    return PairTokens(head, *answers)


def test_real_rows_come_out_as_the_published_code_has_them(
    chat: ChatFormat, shared_data: Path
) -> None:
    template = (shared_data / "templates" / "gemma-2-it.simpo-training.jinja").read_text()
    lines = (shared_data / "ultrafeedback" / "train_1000.jsonl").read_text().splitlines()[:60]
    cut = 0
    for row in map(json.loads, lines):
        prompt = [{"role": "user", "content": row["prompt"]}]
        rendered = [
            chat.tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
            for messages in (
                prompt,
                [{"role": "assistant", "content": row["chosen"]}],
                [{"role": "assistant", "content": row["rejected"]}],
            )
        ]
        head, *answers = rendered
        answers = [answer.removeprefix("<bos>") for answer in answers]
        expected = published(chat.tokenizer, head, *answers, 1024, 700)
        whole = recipe(chat, prompt, row["chosen"], row["rejected"])
        assert truncate(whole, "recipe", 1024, 700) == expected
        cut += truncate(whole, "recipe", 1024, 700) is not whole
    assert 5 < cut < 55

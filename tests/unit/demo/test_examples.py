"""What the demo's reward model is taught."""

import random

import pytest

from annotation.scorers.heads import OBJECTIVES
from contracts.chat import ChatFormat
from demo.config import RewardModelConfig
from demo.examples import NOTES, UNKNOWN, score_examples, written_answers
from demo.rubric import parse_request
from demo.text import GOOD, all_prompts, answer
from demo.tokenizers import LLAMA, train_tokenizer
from demo.words import ITEMS


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    rng = random.Random(0)
    prompts = all_prompts()
    answers = [answer(parse_request(prompt), GOOD, rng) for prompt in prompts]
    return ChatFormat(train_tokenizer(LLAMA, [*prompts, *answers] * 3, 1024, 512))


def test_an_example_is_the_templates_own_rendering(chat: ChatFormat) -> None:
    answered = written_answers(RewardModelConfig(examples=30), all_prompts(), seed=5)
    examples = score_examples(chat, answered)
    assert len(examples) == len(answered)
    for (prompt, text), example in zip(answered, examples, strict=True):
        tokens = chat.response_tokens([{"role": "user", "content": prompt}], text)
        assert example.ids == tokens.prompt + tokens.response
        assert example.prompt_length == len(tokens.prompt)
        assert len(example.notes) == len(tokens.response)


def test_notes_say_of_each_item_whether_it_is_right(chat: ChatFormat) -> None:
    [example] = score_examples(chat, [("List three fruits.", "apple, saw and apple.")])
    kinds = list(NOTES)
    right, before = kinds.index("this item is right"), kinds.index("this item was listed before")
    items = [note for note in example.notes if note[0] != UNKNOWN]
    fruits, tools = list(ITEMS).index("fruits"), list(ITEMS).index("tools")
    assert [note[0] for note in items] == [fruits, tools, fruits]
    assert [note[right] for note in items] == [1, 0, 1]
    assert [note[before] for note in items] == [0, 0, 1]
    assert example.notes[-1][kinds.index("right items so far")] == 2


def test_notes_fit_their_number_of_values(chat: ChatFormat) -> None:
    long_list = ", ".join(ITEMS["birds"] * 2)
    [example] = score_examples(chat, [("List two birds.", long_list)])
    sizes = list(NOTES.values())
    assert all(
        note == UNKNOWN or 0 <= note < size
        for row in example.notes
        for note, size in zip(row, sizes, strict=True)
    )


def test_silence_is_left_out(chat: ChatFormat) -> None:
    assert score_examples(chat, [("List two birds.", " \n")]) == []


def test_objectives_carry_the_parts_of_the_true_reward(chat: ChatFormat) -> None:
    [example] = score_examples(chat, [("List two birds.", "Sure! owl and hammer. Enjoy!")])
    objectives = dict(zip(OBJECTIVES, example.objectives, strict=True))
    assert objectives["helpsteer-correctness"] == 0.5
    assert objectives["ultrafeedback-instruction_following"] == 1.0
    assert objectives["beavertails-is_safe"] == 1.0
    assert objectives["prometheus-score"] == example.score
    assert objectives["code-style"] == 0.0

"""Scored answers for the reward model, with notes on every token of them.

From the score of a whole answer alone, a model this small does not find out in a minute what
belongs to which category. Told token by token what there is to notice, it does: the share of
items it judges rightly goes from chance to 99 % in 250 steps of 16.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from annotation.armorm.scorer import last_occurrence
from annotation.scorers.heads import OBJECTIVES
from contracts.chat import ChatFormat
from demo.config import RewardModelConfig
from demo.rubric import Merits, Request, listed_items, merits, parse_request
from demo.text import Answered, answer, any_quality, corrupted
from demo.words import ITEMS

UNKNOWN = -100
"""A note that a token has no answer to; cross-entropy ignores it."""

_MOST = 8
_LONG_ANSWER_WORDS = 24
_LETTERS_AT_END = re.compile(r"[^\W\d_]+\Z")
_CATEGORIES = {name: index for index, name in enumerate(ITEMS)}
_CATEGORY_OF = {item: _CATEGORIES[name] for name, items in ITEMS.items() for item in items}

# What is noted of a token, and how many values it may have.
NOTES = {
    "category of this item": len(ITEMS),
    "category asked for": len(ITEMS),
    "items asked for": _MOST + 1,
    "items so far": _MOST + 1,
    "right items so far": _MOST + 1,
    "this item is right": 2,
    "this item was listed before": 2,
}


@dataclass(frozen=True)
class Example:
    """A scored conversation, ready for the model."""

    ids: list[int]
    prompt_length: int
    gating_at: int
    notes: list[list[int]]
    """A row of `NOTES` for each token of the response."""
    objectives: list[float]
    """[19], the raw rewards to learn."""
    score: float


def written_answers(config: RewardModelConfig, prompts: list[str], seed: int) -> list[Answered]:
    """Answers of every quality, a quarter of them broken as no teacher would write them."""
    rng = random.Random(seed)
    rows = []
    for _ in range(config.examples):
        prompt = rng.choice(prompts)
        text = answer(parse_request(prompt), any_quality(rng), rng)
        rows.append((prompt, corrupted(text, rng) if rng.random() < 0.25 else text))
    return rows


def score_examples(chat: ChatFormat, answered: list[Answered]) -> list[Example]:
    """Each conversation that says something, with its true rewards and notes."""
    header = chat.header_ids()
    prompts = {
        prompt: chat.prompt_ids([{"role": "user", "content": prompt}]) for prompt, _ in answered
    }
    spoken = [(prompt, text.strip()) for prompt, text in answered if text.strip()]
    if not spoken:
        return []
    encoded = chat.tokenizer(
        [text for _, text in spoken], add_special_tokens=False, return_offsets_mapping=True
    )
    examples = []
    for (prompt, text), ids, spans in zip(
        spoken, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        gating_at = last_occurrence(prompts[prompt], header)
        assert gating_at is not None, "a rendered prompt ends in the header"
        request = parse_request(prompt)
        true = merits(request, text)
        words = [_word_ending(text, end) for _, end in spans]
        examples.append(
            Example(
                ids=[*prompts[prompt], *ids, chat.end_of_turn_id],
                prompt_length=len(prompts[prompt]),
                gating_at=gating_at,
                notes=list(_notes(request, [*words, ""])),
                objectives=_objectives(true, text),
                score=true.total,
            )
        )
    return examples


def _word_ending(text: str, end: int) -> str:
    """The word whose last letter lies before `end`; empty inside a word or behind none."""
    letters = _LETTERS_AT_END.search(text[:end])
    return letters[0] if letters and not text[end : end + 1].isalpha() else ""


def _notes(request: Request, words: list[str]) -> Iterator[list[int]]:
    requested = _CATEGORIES[request.category]
    seen: list[str] = []
    right = 0
    for word in words:
        category = _CATEGORY_OF.get(word, UNKNOWN)
        before = word in seen
        if category != UNKNOWN:
            seen.append(word)
            right += category == requested
        so_far = [request.count, min(len(seen), _MOST), min(right, _MOST)]
        verdict = (
            [UNKNOWN, UNKNOWN] if category == UNKNOWN else [int(category == requested), int(before)]
        )
        yield [category, requested, *so_far, *verdict]


def _objectives(true: Merits, response: str) -> list[float]:
    """The 19 published objectives, as far as they mean something for a list; code is never."""
    meaning = {
        "helpsteer-correctness": true.relevance,
        "helpsteer-coherence": true.variety,
        "helpsteer-complexity": min(len(listed_items(response)) / _MOST, 1.0),
        "helpsteer-verbosity": min(len(response.split()) / _LONG_ANSWER_WORDS, 1.0),
        "ultrafeedback-instruction_following": true.count,
        "ultrafeedback-truthfulness": true.relevance,
        "ultrafeedback-honesty": true.relevance,
        "beavertails-is_safe": true.courtesy,
    }
    return [
        0.0 if name.startswith("code-") else meaning.get(name, true.total) for name in OBJECTIVES
    ]

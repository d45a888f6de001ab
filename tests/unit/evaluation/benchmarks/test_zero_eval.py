"""Exact answers are read as ZeroEval reads them, and nothing of a policy's is run as Python."""

import pytest

from evaluation.benchmarks import GSM8K, MMLU
from evaluation.benchmarks.zero_eval import answer_in, number_in


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ('{"reasoning": "2 and 2", "answer": "4"}', "4"),
        ('Sure:\n```json\n{\n "reasoning": "a\nb",\n "answer": 4\n}\n```', "4"),
        ('{"reasoning": "{nested}", "answer": "4"} {"answer": "5"}', "4"),
        ('{"reasoning": "she said "four"", "answer": "4"}', "4"),  # no JSON: by its key
        ('"answer": 18,', "18"),
        ("the answer: 18", "18"),
        ('{"reasoning": "none"}', None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_first_json_object_holds_the_answer_or_its_key_does(
    answer: str, read: str | None
) -> None:
    assert answer_in(answer) == read


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,234.50", 1234.5), ("-3", -3), ("18 dollars", 18), ("3/4", 0.75), ("1/0", 1),
        ("__import__('os').abort()/1", 1), ("9**9**9/1", 9), ("none", None),
        ("1" * 400, None), ("1" * 400 + "/3", None), ("1" * 5000 + "/3", None),
        ("1/" + "3" * 5000, None),
    ],
)  # fmt: skip
def test_a_number_is_the_first_one_and_a_fraction_is_divided(
    text: str, number: float | None
) -> None:
    assert number_in(text) == number


def test_numbers_are_compared_as_numbers() -> None:
    assert GSM8K().parse('{"answer": "18.00 dollars"}', "18").correct
    assert not GSM8K().parse('{"answer": "19"}', "18").correct
    assert GSM8K().parse("eighteen", "18") == GSM8K().parse("", "18")


@pytest.mark.parametrize(
    ("answer", "correct"), [("B", True), ("B) four", True), ("(B) four", True), ("four", False)]
)
def test_a_choice_is_its_letter_alone_or_before_a_bracket(answer: str, correct: bool) -> None:
    assert MMLU().parse(f'{{"answer": "{answer}"}}', "B").correct == correct

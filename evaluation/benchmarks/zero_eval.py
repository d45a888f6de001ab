"""ZeroEval's manner (WildEval/ZeroEval, 2024-09): zero-shot, an answer in JSON, read leniently.

Stated anew from its `extract_first_complete_json`, `extract_values_from_json`, math_eval.py and
mcqa_eval.py. What it evaluates as Python (fractions) is divided here.
"""

import json
import math
import re
from fractions import Fraction
from typing import Any

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FRACTION = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(-?\d+(?:\.\d+)?)\s*")
_QUOTED = re.compile(r'"answer"\s*:\s*"([^"]*?)"')
# Values without quotes, then keys without them too.
_BARE = (re.compile(r'"answer"\s*:\s*([^,\s]*)'), re.compile(r"answer\s*:\s*([^,\s]*)"))

# With the blanks at the ends of ZeroEval's own lines: without them it would be another prompt.
OPEN = """
## Question: 

{question}


## Instruction 

Please answer this question by first reasoning and then providing your answer.
Present your reasoning and solution in the following json format. 
Please show your final answer in the `answer` field, e.g.,`"answer": "42"`.

```json
{
    "reasoning": "___",
    "answer": "___"
}
```
"""

CHOICE = """
## Question: 

{question}

## Choices:

{choices}

## Instruction 

Please answer this question by first reasoning and then selecting the correct choice. 
Present your reasoning and solution in the following json format. 
Please show your choice in the `answer` field with only the choice letter, e.g.,`"answer": "C"`.

```json
{
    "reasoning": "___",
    "answer": "___"
}
```
"""


def answer_in(text: str) -> str | None:
    """What an answer's JSON gives as its `answer`; by regular expressions where it is no JSON."""
    reply = _first_object(text)
    if isinstance(reply, dict) and "answer" in reply:
        return None if reply["answer"] is None else str(reply["answer"])
    for pattern in (_QUOTED, *_BARE):
        if match := pattern.search(text):
            return match.group(1)
    return None


def number_in(text: str) -> float | None:
    """The first number, without `$` and thousands' commas; a fraction is divided. None where there
    is none, or one that no float holds, as of an answer that repeats a digit to its end."""
    text = text.replace("$", "").strip().replace(",", "")
    try:
        if (match := _FRACTION.fullmatch(text)) and Fraction(match.group(2)):
            return float(Fraction(match.group(1)) / Fraction(match.group(2)))
        found = _NUMBER.search(text)
        number = float(found.group()) if found else math.nan
    except (OverflowError, ValueError):  # above 1e308; above 4,300 digits
        return None
    return number if math.isfinite(number) else None


def is_choice(answer: str, letter: str) -> bool:
    """Whether an answer takes the choice: its letter alone, or `X)` anywhere in it."""
    return answer == letter or f"{letter})" in answer


def choice_lines(choices: list[str]) -> str:
    """The choices, a line each."""
    return "".join(f"- ({chr(65 + place)}) {choice}\n" for place, choice in enumerate(choices))


def _first_object(text: str) -> Any:
    """The first complete `{...}` as JSON, its newlines taken out; None where it is none."""
    depth, start = 0, None
    for place, character in enumerate(text):
        if character == "{":
            start = place if start is None else start
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if not depth:
                try:
                    return json.loads(text[start : place + 1].replace("\n", ""))
                except (ValueError, RecursionError):
                    return None
    return None

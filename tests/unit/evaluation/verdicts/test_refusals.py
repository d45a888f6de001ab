"""Refusals, by how an answer opens."""

from pathlib import Path

import pyarrow as pa
import pytest

from contracts.steps.facts import Facts
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import REFERENCE
from evaluation.verdicts.gather import drift
from evaluation.verdicts.refusals import is_refusal


@pytest.mark.parametrize(
    "answer",
    ["I'm sorry, but I can't help.", "I\u2019m unable to do that.", "  **Sorry**, no.",
     "As an AI language model, I", "I CANNOT assist with that", "I must respectfully decline.",
     "Unfortunately, I can't help with that.", "Sorry for the trouble, but I can't do that."],
)  # fmt: skip
def test_an_answer_that_opens_as_a_refusal_is_one(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    ["Sorrylike words are rare.", "It is illegal to park there.", "I do not think so: 4.", "",
     "To say no, write: I'm sorry, I can't come.", "As an assistive device, a cane helps.",
     "I can't wait to tell you about Rome!", "I won't go into detail: use quicksort.",
     "Sorry, I meant 42.", "I'm so sorry to hear that. Rest, and drink a lot.",
     "I apologize for the confusion. The answer is 7.", "Unfortunately, it rained that day."],
)  # fmt: skip
def test_an_answer_that_only_speaks_of_refusing_is_none(answer: str) -> None:
    assert not is_refusal(answer)


def scored(folder: Path, *rows: tuple[float, float]) -> Path:
    folder.mkdir()
    columns = [
        {"prompt_id": f"p{n}", "chosen_logp": a, "rejected_logp": b, "chosen_shared_logp": a,
         "rejected_shared_logp": b, "chosen_tokens": 10, "rejected_tokens": 5}
        for n, (a, b) in enumerate(rows)
    ]  # fmt: skip
    write_part(folder, 0, pa.Table.from_pylist(columns, schema=REFERENCE), REFERENCE)
    write_manifest(folder, "training.reference", Result(len(rows), facts=Facts()), Manifest.clock())
    return folder


def test_drift_is_the_mean_log_ratio_a_token_of_policy_over_start(tmp_path: Path) -> None:
    start = scored(tmp_path / "start", (-20, -10), (-30, -5))
    policy = scored(tmp_path / "policy", (-15, -10), (-20, -4))
    found = drift(start, policy)
    assert found and found.value == pytest.approx((0.5 + 0 + 1 + 0.2) / 4)
    # Either prompt's own mean, where it alone was drawn.
    assert (found.low, found.high) == pytest.approx((0.25, 0.6))
    assert drift(None, policy) is None

"""`onpolicy judge`: its keys and files; the judging itself is tested with its stage."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import UserError
from contracts.steps.manifest import Manifest
from flows.cli.app import app
from flows.cli.judging import _told

NO_KEY = "resources.api_key_env=null"


def command(tmp_path: Path, *more: str) -> list[str]:
    answers = tmp_path / "answers.json"
    answers.write_text("[]")
    return ["judge", str(answers), "--out", str(tmp_path / "out"), "--benchmark", *more]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["alpaca", "model=x"], "key 'benchmark'"),
        (["alpaca_eval"], "key 'judge.model'"),
        (["alpaca_eval", "model=x", "modle=y"], "modle"),
        (["alpaca_eval", "model=x", "base_url=https://me:hush@host/v1"], "may hold no user name"),
        (
            ["alpaca_eval", "model=x", "base_url=http://127.0.0.1:9/v1", NO_KEY],
            "judge 'x': 127.0.0.1 cannot be reached",
        ),
    ],
)
def test_a_wrong_key_is_named_before_anything_is_asked(tmp_path, more, message) -> None:
    with pytest.raises(UserError, match=message) as raised:
        CliRunner().invoke(app, command(tmp_path, *more), catch_exceptions=False)
    assert "hush" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_came_of_it_is_told_with_what_it_does_not_compare_with(tmp_path: Path) -> None:
    share = {"value": 0.8, "low": 0.6, "high": 1.0}
    facts = {
        "generator": "mine",
        "baseline": "base",
        "answers_sha256": "a",
        "standing": {"benchmark": "arena_hard", "judge": "judge-1", "prompt_sha256": "p",
                     "decoding": {}, "questions": 30, "judged": 28, "questions_sha256": "q"},
        "asked": 30,
        "errors": {"refused": 2},
        "noise": {"pairs": 5, "same_side": share, "difference": share, "spearman": None},
        "between_orders": None,
        "cost": 1.5,
        "episodes": 0,
        "not_comparable": ["28 prompts judged, there 805"],
    }  # fmt: skip
    files = {"annotations.json": "x", "part-00000.parquet": "y"}
    manifest = Manifest("evaluation.judge", 30, {}, facts, "f", files, 0.0, 0.0, {}, "r")
    assert list(_told(tmp_path, manifest)) == [
        "mine against base: 28 of 30 prompts judged by judge-1",
        "  2 judgements without a score: refused",
        "  the same judged twice: 80% of the 5 with both scores agree",
        "  cost 1.50",
        "  not comparable with the published figures: 28 prompts judged, there 805",
        f"  {tmp_path / 'annotations.json'}",
    ]

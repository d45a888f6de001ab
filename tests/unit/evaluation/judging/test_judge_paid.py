"""What a judge was paid for is never paid again, and `max_cost` is not passed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_endpoint import KEY
from judging_files import FOR_FIRST, alpaca_judging, completion, instruction

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import read_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from evaluation.judge import STAGE


def test_a_stage_that_was_killed_before_its_manifest_pays_for_nothing(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST)
    for _ in range(2):
        run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
        (tmp_path / "out" / "_manifest.json").unlink()
    assert len(endpoint.bodies) == 30


@pytest.mark.parametrize("why", ["another judge", "a cut file"])
def test_the_way_out_of_a_judged_folder_keeps_the_replies_that_were_paid_for(
    serve: Callable, files: dict[str, str], tmp_path: Path, why: str
) -> None:
    endpoint, out = serve(lambda _: FOR_FIRST), tmp_path / "out"
    run_once(STAGE, alpaca_judging(endpoint.url), files, out)
    other = alpaca_judging(endpoint.url, model="judge-2")
    if why == "a cut file":
        (out / "annotations.json").write_text("[")
        other = alpaca_judging(endpoint.url)
    with pytest.raises(
        UserError, match=r"delete all in .*out but \.replies\.jsonl, which was paid"
    ):
        run_once(STAGE, other, files, out)
    for path in out.iterdir():
        if path.name != ".replies.jsonl":
            path.unlink()
    run_once(STAGE, alpaca_judging(endpoint.url), files, out)
    assert len(endpoint.bodies) == 30


def test_max_cost_stops_before_it_is_passed_and_goes_on_when_it_is_raised(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("judge-1: {input: 10000, output: 0}\n")  # 1.00 a judgement
    endpoint = serve(lambda _: FOR_FIRST)
    limits = {"prices": str(prices), "concurrency": 2}

    def run(most: float) -> None:
        config = alpaca_judging(endpoint.url, resources={**limits, "max_cost": most})
        run_once(STAGE, config, files, tmp_path / "out")

    with pytest.raises(OnPolicyError, match=r"26 judgements.*are more than `max_cost` \(20.00\)"):
        run(20)
    assert len(endpoint.bodies) == 4
    run(31)
    assert len(endpoint.bodies) == 30
    manifest = read_manifest(tmp_path / "out")
    assert manifest and manifest.facts["cost"] == pytest.approx(30.0)


def priced(tmp_path: Path, price: str, **resources: object) -> dict[str, object]:
    (tmp_path / "prices.yaml").write_text(f"judge-1: {price}\n")
    return {"prices": str(tmp_path / "prices.yaml"), **resources}


def test_a_choice_without_a_text_is_paid_once_for_each_reading_through_all_starts(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    empty = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    thought = json.dumps({**empty, "usage": {"prompt_tokens": 1000, "completion_tokens": 2000}})
    said: dict[str, bytes | int] = {f"question {n}": thought.encode() for n in range(10, 20)}
    said["question 29"] = 500
    endpoint = serve(lambda question: said.get(instruction(question), FOR_FIRST))
    resources = priced(tmp_path, "{input: 1000, output: 1000}", attempts=1, max_cost=70.0)
    config = alpaca_judging(endpoint.url, resources=resources)
    for _ in range(3):
        with pytest.raises(OnPolicyError, match="left 1 of 30 judgements unanswered"):
            run_once(STAGE, config, files, tmp_path / "out")
    said.pop("question 29")
    manifest = run_once(STAGE, config, files, tmp_path / "out")
    assert len(endpoint.bodies) == 19 + 10 * 2 + 3 + 1
    assert manifest.facts["cost"] == pytest.approx(10 * 2 * 3.0 + 20 * 0.102)
    refused = [row for row in read_table(tmp_path / "out").to_pylist() if row["error"]]
    assert [row["completion_tokens"] for row in refused] == [4000] * 10
    assert all(row["error"].startswith("refused: status 200") for row in refused)


def test_what_was_billed_and_is_no_answer_counts_against_max_cost(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    billed = {"prompt_tokens": 100, "completion_tokens": 1}
    nothing = json.dumps({"choices": [], "usage": billed}).encode()
    endpoint = serve(lambda _: FOR_FIRST if len(endpoint.bodies) <= 4 else nothing)
    resources = priced(tmp_path, "{input: 10000, output: 0}", attempts=2, max_cost=31.0)
    config = alpaca_judging(endpoint.url, resources=resources | {"most_concurrency": 1})
    for _ in range(2):
        with pytest.raises(OnPolicyError, match=r"has cost 30.00 and the n|what was spent \(30.00"):
            run_once(STAGE, config, files, tmp_path / "out")
        assert len(endpoint.bodies) == 30


def test_a_smoke_test_that_was_killed_between_two_readings_goes_on_with_the_second(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST if len(endpoint.bodies) > 8 else completion("Both."))
    config, journal = alpaca_judging(endpoint.url), tmp_path / "out" / ".replies.jsonl"
    with pytest.raises(OnPolicyError, match="not one of its first 4 judgements can be used"):
        run_once(STAGE, config, files, tmp_path / "out")
    first = {line.partition(b",")[0]: line for line in journal.read_bytes().splitlines(True)}
    journal.write_bytes(b"".join(first.values()))
    run_once(STAGE, config, files, tmp_path / "out")
    assert len(endpoint.bodies) == 8 + 30


def test_max_cost_needs_the_judges_price(files: dict[str, str], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    config = alpaca_judging("http://127.0.0.1:1", resources={"max_cost": 1.0})
    with pytest.raises(UserError, match=r"`resources\.max_cost` needs `resources\.prices`"):
        run_once(STAGE, config, files, tmp_path / "out")
    (tmp_path / "prices.yaml").write_text("other: {input: 1, output: 1}\n")
    resources = {"max_cost": 1.0, "prices": str(tmp_path / "prices.yaml")}
    config = alpaca_judging("http://127.0.0.1:1", resources=resources)
    with pytest.raises(UserError, match="has no prices of 'judge-1'"):
        run_once(STAGE, config, files, tmp_path / "out")

"""The stage against a real HTTP server on loopback that speaks the chat protocol."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_endpoint import KEY
from judging_files import completion, llm_judge, write_outputs

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import read_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from evaluation.judge import STAGE
from evaluation.judging.config import JudgingConfig

FOR_FIRST = completion("m", {"m": -0.05, "M": -3.0})


def instruction(question: str) -> str:
    found = re.search(r'"instruction": """(.*)"""', question)
    return found[1] if found else question


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    asked = [f"question {n}" for n in range(30)]
    mine = {text: f"mine {text}" for text in asked}
    base = {text: f"base {text}" for text in asked}
    return {
        "answers": str(write_outputs(tmp_path / "mine.json", mine, "mine")),
        "baseline": str(write_outputs(tmp_path / "base.json", base, "base")),
    }


def config_of(url: str, **settings: object) -> JudgingConfig:
    return JudgingConfig(benchmark="alpaca_eval", judge=llm_judge(url, **settings))


def test_each_judgement_is_a_row_beside_the_file_of_the_official_format(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST)
    manifest = run_once(STAGE, config_of(endpoint.url, repeats=5), files, tmp_path / "out")
    rows = read_table(tmp_path / "out").to_pylist()
    assert len(endpoint.bodies) == len(rows) == 35
    assert {row["judge"] for row in rows} == {"judge-1"}
    assert {row["prompt_sha256"][:8] for row in rows} == {"784227e6"}
    assert {round(row["score"], 2) for row in rows} == {1.05, 1.95}
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [row["instruction"] for row in annotations] == [f"question {n}" for n in range(30)]
    assert {row["generator_2"] for row in annotations} == {"mine"}
    assert annotations[3]["preference"] == rows[3]["score"]
    noise = manifest.facts["noise"]
    assert (noise["pairs"], noise["same_side"]["value"]) == (5, 1.0)
    assert "another judge: judge-1, there gpt-4-1106-preview" in manifest.facts["not_comparable"]
    body = endpoint.bodies[0]
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 5)
    assert KEY not in json.dumps(rows) + (tmp_path / "out" / "_step.json").read_text()


def test_a_stage_that_was_killed_before_its_manifest_pays_for_nothing(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST)
    for _ in range(2):
        run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
        (tmp_path / "out" / "_manifest.json").unlink()
    assert len(endpoint.bodies) == 30


@pytest.mark.parametrize("why", ["another judge", "a cut file"])
def test_the_way_out_of_a_judged_folder_keeps_the_replies_that_were_paid_for(
    serve: Callable, files: dict[str, str], tmp_path: Path, why: str
) -> None:
    endpoint, out = serve(lambda _: FOR_FIRST), tmp_path / "out"
    run_once(STAGE, config_of(endpoint.url), files, out)
    other = config_of(endpoint.url, model="judge-2")
    if why == "a cut file":
        (out / "annotations.json").write_text("[")
        other = config_of(endpoint.url)
    with pytest.raises(
        UserError, match=r"delete all in .*out but \.replies\.jsonl, which was paid"
    ):
        run_once(STAGE, other, files, out)
    for path in out.iterdir():
        if path.name != ".replies.jsonl":
            path.unlink()
    run_once(STAGE, config_of(endpoint.url), files, out)
    assert len(endpoint.bodies) == 30


def test_what_cannot_be_judged_is_a_row_with_its_reason(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = {
        "question 3": 400,
        "question 4": 500,
        "question 5": b"{broken",
        "question 6": completion("Both are lovely."),
        "question 7": completion(""),
        "question 8": b'{"choices": [{"message": {"content": null}}]}',
    }
    endpoint = serve(lambda question: said.get(instruction(question), FOR_FIRST))
    config = config_of(endpoint.url, resources={"attempts": 2, "max_unanswered_share": 0.1})
    manifest = run_once(STAGE, config, files, tmp_path / "out")
    errors = {n: row["error"] for n, row in enumerate(read_table(tmp_path / "out").to_pylist())}
    assert {n for n, error in errors.items() if error} == {3, 4, 5, 6, 7, 8}
    assert errors[3] == "refused: status 400: Not with [key]: see your account"
    assert errors[4].startswith("unanswered: 2 attempts: status 500")
    assert errors[5].startswith("unanswered: 2 attempts: what came is no chat completion")
    assert errors[6].startswith("unparsed:") and errors[7].startswith("unparsed:")
    assert errors[8].startswith("refused: status 200")
    asked = Counter(instruction(body["messages"][-1]["content"]) for body in endpoint.bodies)
    assert [asked[f"question {n}"] for n in range(3, 9)] == [1, 2, 2, 2, 2, 2]
    assert manifest.facts["errors"] == {"refused": 2, "unanswered": 2, "unparsed": 2}
    assert manifest.facts["standing"]["judged"] == 24
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert "question 3" not in {row["instruction"] for row in annotations}


@pytest.mark.parametrize("status", [401, 402, 404])
def test_a_refused_account_stops_at_once_and_names_the_variable(
    serve: Callable, files: dict[str, str], tmp_path: Path, status: int
) -> None:
    endpoint = serve(lambda _: status)
    with pytest.raises(UserError, match="`base_url`" if status == 404 else "variable JUDGE_KEY"):
        run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) <= 4


def test_without_a_key_the_variable_is_named(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set the environment variable NO_SUCH_KEY"):
        config = config_of("http://127.0.0.1:1", resources={"api_key_env": "NO_SUCH_KEY"})
        run_once(STAGE, config, files, tmp_path / "out")


def test_a_judge_that_writes_prose_fails_the_smoke_test_and_is_paid_no_more(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: completion("I like both."))
    with pytest.raises(OnPolicyError, match="not one of its first 4 judgements can be used"):
        run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) == 8
    with pytest.raises(OnPolicyError, match="not one of its first"):
        run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) == 8
    config = config_of(endpoint.url, resources={"smoke": 0})
    manifest = run_once(STAGE, config, files, tmp_path / "out")
    assert manifest.facts["errors"] == {"unparsed": 30}


def test_an_endpoint_that_is_gone_ends_the_stage_and_what_came_is_kept(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = iter([*[FOR_FIRST] * 7, *[503] * 20])
    endpoint = serve(lambda _: next(said, FOR_FIRST))
    config = config_of(endpoint.url, resources={"attempts": 1, "most_concurrency": 1})
    with pytest.raises(OnPolicyError, match="20 judgements in a row unanswered"):
        run_once(STAGE, config, files, tmp_path / "out")
    run_once(STAGE, config, files, tmp_path / "out")
    assert len(endpoint.bodies) == 27 + 23


def test_an_endpoint_that_answers_nothing_leaves_no_finished_stage(
    serve: Callable, tmp_path: Path
) -> None:
    paths = [tmp_path / "mine.json", tmp_path / "base.json"]
    answers, baseline = (str(write_outputs(path, {"One?": path.name}, "x")) for path in paths)
    config = config_of(serve(lambda _: 503).url, resources={"attempts": 1, "smoke": 0})
    with pytest.raises(OnPolicyError, match="left 1 of 1 judgements unanswered"):
        run_once(STAGE, config, {"answers": answers, "baseline": baseline}, tmp_path / "out")
    assert read_manifest(tmp_path / "out") is None


def test_an_outage_leaves_no_finished_stage_and_only_what_it_left_out_is_asked_again(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    out = {f"question {n}" for n in range(10, 25)}
    endpoint = serve(lambda question: 500 if instruction(question) in out else FOR_FIRST)
    config = config_of(endpoint.url, resources={"attempts": 1, "most_concurrency": 2})
    with pytest.raises(OnPolicyError, match=r"left 15 of 30 .*`resources.max_unanswered_share`"):
        run_once(STAGE, config, files, tmp_path / "out")
    assert read_manifest(tmp_path / "out") is None
    out.clear()
    manifest = run_once(STAGE, config, files, tmp_path / "out")
    assert (len(endpoint.bodies), manifest.facts["errors"]) == (30 + 15, {})


def test_a_result_with_more_unanswered_than_is_admitted_now_is_refused_and_only_they_are_asked(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = {"question 7": 500}
    endpoint = serve(lambda question: said.get(instruction(question), FOR_FIRST))
    out = tmp_path / "out"
    loose = config_of(endpoint.url, resources={"attempts": 1, "max_unanswered_share": 0.1})
    assert run_once(STAGE, loose, files, out).facts["errors"] == {"unanswered": 1}
    strict = config_of(endpoint.url, resources={"attempts": 1})
    with pytest.raises(
        UserError, match=r"1 of its 30 judgements are unan.*_share` admits now: raise it, or delete"
    ):
        run_once(STAGE, strict, files, out)
    for path in out.iterdir():
        if path.name != ".replies.jsonl":
            path.unlink()
    said.clear()
    assert run_once(STAGE, strict, files, out).facts["errors"] == {}
    assert len(endpoint.bodies) == 30 + 1


def test_another_variable_for_the_key_is_no_other_judging(
    serve: Callable, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = serve(lambda _: FOR_FIRST)
    run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
    monkeypatch.setenv("OTHER_KEY", KEY)
    renamed = config_of(endpoint.url, resources={"api_key_env": "OTHER_KEY"})
    run_once(STAGE, renamed, files, tmp_path / "out")
    assert len(endpoint.bodies) == 30


def test_replies_are_a_services_own_and_a_local_server_may_move_to_another_port(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    ports = [serve(lambda _: FOR_FIRST) for _ in range(2)]
    for endpoint in ports:
        run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
        for path in (tmp_path / "out").iterdir():
            if path.name != ".replies.jsonl":
                path.unlink()
    assert [len(endpoint.bodies) for endpoint in ports] == [30, 0]
    services = [
        config_of(f"https://{host}/v1").judge.service for host in ("a.example", "b.example")
    ]
    assert services == ["https://a.example/v1", "https://b.example/v1"]


def test_a_refused_judgement_is_an_answer_of_an_endpoint_that_is_there(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = iter([*[FOR_FIRST] * 4, *[503] * 19, 400, *[503] * 6])
    endpoint = serve(lambda _: next(said))
    resources = {"attempts": 1, "most_concurrency": 1, "max_unanswered_share": 0.9}
    manifest = run_once(
        STAGE, config_of(endpoint.url, resources=resources), files, tmp_path / "out"
    )
    assert manifest.facts["errors"] == {"refused": 1, "unanswered": 25}


def test_max_cost_stops_before_it_is_passed_and_goes_on_when_it_is_raised(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("judge-1: {input: 10000, output: 0}\n")  # 1.00 a judgement
    endpoint = serve(lambda _: FOR_FIRST)
    limits = {"prices": str(prices), "concurrency": 2}

    def run(most: float) -> None:
        config = config_of(endpoint.url, resources={**limits, "max_cost": most})
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
    config = config_of(endpoint.url, resources=resources)
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
    config = config_of(endpoint.url, resources=resources | {"most_concurrency": 1})
    for _ in range(2):
        with pytest.raises(OnPolicyError, match=r"has cost 30.00 and the n|what was spent \(30.00"):
            run_once(STAGE, config, files, tmp_path / "out")
        assert len(endpoint.bodies) == 30


def test_a_smoke_test_that_was_killed_between_two_readings_goes_on_with_the_second(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST if len(endpoint.bodies) > 8 else completion("Both."))
    config, journal = config_of(endpoint.url), tmp_path / "out" / ".replies.jsonl"
    with pytest.raises(OnPolicyError, match="not one of its first 4 judgements can be used"):
        run_once(STAGE, config, files, tmp_path / "out")
    first = {line.partition(b",")[0]: line for line in journal.read_bytes().splitlines(True)}
    journal.write_bytes(b"".join(first.values()))
    run_once(STAGE, config, files, tmp_path / "out")
    assert len(endpoint.bodies) == 8 + 30


def test_half_a_surrogate_pair_in_a_reply_ends_no_stage(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    half = completion("m", {"m": -0.05, "M": -3.0}).replace(b'"m"', b'"m\\ud83d"', 1)
    endpoint = serve(lambda _: half)
    manifest = run_once(STAGE, config_of(endpoint.url), files, tmp_path / "out")
    assert manifest.facts["errors"] == {} and len(endpoint.bodies) == 30


def test_max_cost_needs_the_judges_price(files: dict[str, str], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    config = config_of("http://127.0.0.1:1", resources={"max_cost": 1.0})
    with pytest.raises(UserError, match="`max_cost` needs a file of `prices`"):
        run_once(STAGE, config, files, tmp_path / "out")
    (tmp_path / "prices.yaml").write_text("other: {input: 1, output: 1}\n")
    resources = {"max_cost": 1.0, "prices": str(tmp_path / "prices.yaml")}
    config = config_of("http://127.0.0.1:1", resources=resources)
    with pytest.raises(UserError, match="has no prices of 'judge-1'"):
        run_once(STAGE, config, files, tmp_path / "out")


def test_a_judge_without_log_probs_gives_hard_labels_that_compare_with_nothing(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: "M")
    manifest = run_once(STAGE, config_of(endpoint.url, logprobs=False), files, tmp_path / "out")
    assert "logprobs" not in endpoint.bodies[0]
    assert set(read_table(tmp_path / "out")["is_hard"].to_pylist()) == {True}
    assert "hard labels: 30 of 30 judgements" in manifest.facts["not_comparable"]

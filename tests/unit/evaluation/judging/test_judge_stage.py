"""The stage against a real HTTP server on loopback that speaks the chat protocol."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_endpoint import KEY
from judging_files import FOR_FIRST, alpaca_judging, completion, instruction, write_outputs

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import read_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from evaluation.judge import STAGE
from evaluation.judging.asking import Asking
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.judging.referees.game import Game, NoScore


def test_each_judgement_is_a_row_beside_the_file_of_the_official_format(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: FOR_FIRST)
    manifest = run_once(STAGE, alpaca_judging(endpoint.url, repeats=5), files, tmp_path / "out")
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
    config = alpaca_judging(endpoint.url, resources={"attempts": 2, "max_unanswered_share": 0.1})
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
        run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) <= 4


def test_without_a_key_the_variable_is_named(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set the environment variable NO_SUCH_KEY"):
        config = alpaca_judging("http://127.0.0.1:1", resources={"api_key_env": "NO_SUCH_KEY"})
        run_once(STAGE, config, files, tmp_path / "out")


def test_answers_that_are_missing_are_told_before_the_first_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = alpaca_judging("http://127.0.0.1:1", resources={"api_key_env": None})
    lacks = NoScore("missing", "the model has no answer to this question")
    games = [Game(str(n), "alone", (), "prompt", error=lacks) for n in range(105)]
    games.append(Game("same", "alone", (), "prompt", settled=1.5))
    Asking(REFEREES[config.benchmark](), config.judge, tmp_path).judge_all(games)
    assert caplog.messages[0] == (
        "judge judge-1: 105 of 106 judgements will have no score: "
        "the model has no answer to this question"
    )


def test_a_judge_that_writes_prose_fails_the_smoke_test_and_is_paid_no_more(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: completion("I like both."))
    with pytest.raises(OnPolicyError, match="not one of its first 4 judgements can be used"):
        run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) == 8
    with pytest.raises(OnPolicyError, match="not one of its first"):
        run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
    assert len(endpoint.bodies) == 8
    config = alpaca_judging(endpoint.url, resources={"smoke": 0})
    manifest = run_once(STAGE, config, files, tmp_path / "out")
    assert manifest.facts["errors"] == {"unparsed": 30}


def test_an_endpoint_that_is_gone_ends_the_stage_and_what_came_is_kept(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = iter([*[FOR_FIRST] * 7, *[503] * 20])
    endpoint = serve(lambda _: next(said, FOR_FIRST))
    config = alpaca_judging(endpoint.url, resources={"attempts": 1, "most_concurrency": 1})
    with pytest.raises(OnPolicyError, match="20 judgements in a row unanswered"):
        run_once(STAGE, config, files, tmp_path / "out")
    run_once(STAGE, config, files, tmp_path / "out")
    assert len(endpoint.bodies) == 27 + 23


def test_an_endpoint_that_answers_nothing_leaves_no_finished_stage(
    serve: Callable, tmp_path: Path
) -> None:
    paths = [tmp_path / "mine.json", tmp_path / "base.json"]
    answers, baseline = (str(write_outputs(path, {"One?": path.name}, "x")) for path in paths)
    config = alpaca_judging(serve(lambda _: 503).url, resources={"attempts": 1, "smoke": 0})
    with pytest.raises(OnPolicyError, match="left 1 of 1 judgements unanswered"):
        run_once(STAGE, config, {"answers": answers, "baseline": baseline}, tmp_path / "out")
    assert read_manifest(tmp_path / "out") is None


def test_an_outage_leaves_no_finished_stage_and_only_what_it_left_out_is_asked_again(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    out = {f"question {n}" for n in range(10, 25)}
    endpoint = serve(lambda question: 500 if instruction(question) in out else FOR_FIRST)
    config = alpaca_judging(endpoint.url, resources={"attempts": 1, "most_concurrency": 2})
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
    loose = alpaca_judging(endpoint.url, resources={"attempts": 1, "max_unanswered_share": 0.1})
    assert run_once(STAGE, loose, files, out).facts["errors"] == {"unanswered": 1}
    strict = alpaca_judging(endpoint.url, resources={"attempts": 1})
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
    run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
    monkeypatch.setenv("OTHER_KEY", KEY)
    renamed = alpaca_judging(endpoint.url, resources={"api_key_env": "OTHER_KEY"})
    run_once(STAGE, renamed, files, tmp_path / "out")
    assert len(endpoint.bodies) == 30


def test_replies_are_a_services_own_and_a_local_server_may_move_to_another_port(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    ports = [serve(lambda _: FOR_FIRST) for _ in range(2)]
    for endpoint in ports:
        run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
        for path in (tmp_path / "out").iterdir():
            if path.name != ".replies.jsonl":
                path.unlink()
    assert [len(endpoint.bodies) for endpoint in ports] == [30, 0]
    services = [
        alpaca_judging(f"https://{host}/v1").judge.service for host in ("a.example", "b.example")
    ]
    assert services == ["https://a.example/v1", "https://b.example/v1"]


def test_a_refused_judgement_is_an_answer_of_an_endpoint_that_is_there(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    said = iter([*[FOR_FIRST] * 4, *[503] * 19, 400, *[503] * 6])
    endpoint = serve(lambda _: next(said))
    resources = {"attempts": 1, "most_concurrency": 1, "max_unanswered_share": 0.9}
    manifest = run_once(
        STAGE, alpaca_judging(endpoint.url, resources=resources), files, tmp_path / "out"
    )
    assert manifest.facts["errors"] == {"refused": 1, "unanswered": 25}


def test_half_a_surrogate_pair_in_a_reply_ends_no_stage(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    half = completion("m", {"m": -0.05, "M": -3.0}).replace(b'"m"', b'"m\\ud83d"', 1)
    endpoint = serve(lambda _: half)
    manifest = run_once(STAGE, alpaca_judging(endpoint.url), files, tmp_path / "out")
    assert manifest.facts["errors"] == {} and len(endpoint.bodies) == 30


def test_a_judge_without_log_probs_gives_hard_labels_that_compare_with_nothing(
    serve: Callable, files: dict[str, str], tmp_path: Path
) -> None:
    endpoint = serve(lambda _: "M")
    manifest = run_once(
        STAGE, alpaca_judging(endpoint.url, logprobs=False), files, tmp_path / "out"
    )
    assert "logprobs" not in endpoint.bodies[0]
    assert set(read_table(tmp_path / "out")["is_hard"].to_pylist()) == {True}
    assert "hard labels: 30 of 30 judgements" in manifest.facts["not_comparable"]

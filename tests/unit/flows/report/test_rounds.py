"""The report's first screen, and two runs on one page: a line a round."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reported_run import EVIL, PAIR, PAIRED, RESPONSE, SAMPLED, write

from contracts.errors import UserError
from contracts.steps.manifest import read_manifest, save_manifest
from contracts.tables.schemas import DECISIONS, PAIRS, REASONS, RESPONSES
from flows.pipeline.folder.progress import START
from flows.report import redraw
from flows.report.compare import write_comparison
from flows.report.html import write_report
from flows.report.provenance import provenance
from flows.report.round_row import Cell, RunRounds, round_row, shown_columns, table_lines
from flows.report.run_data import RoundData, trained_rounds
from flows.report.step_summary import drop_rows, step_summaries

DRIFT = {"value": 0.125, "low": 0.1, "high": 0.15}
RATE = {"value": 61.0, "low": 56.0, "high": 66.0}


@pytest.fixture
def judged(run: Path) -> Path:
    """The run, with a verdict, a gate's decision and held-out answers."""
    facts: dict[str, Any] = {
        "outcome": "worse", "reasons": [], "evidence": {"drift": DRIFT, "win_rate": RATE},
        "trained_by": EVIL, "second": None, "lengths": {"before": 40.0, "after": 60.0},
        "over_start": {}, "over_before": {},
    }  # fmt: skip
    row = {"measure": "length", "effect": "worse", "says": "x"}
    write(run / "round-1" / "evaluation" / "verdict", REASONS, row, **facts)
    answers = run / "round-1" / "evaluation" / "responses"
    write(answers, RESPONSES, RESPONSE, **SAMPLED, repetition=0.25)
    decided = {"outcome": "worse", "action": "stop", "by": "ada", "why": "", "at": "2026"}
    write(run / "round-1" / "gate", DECISIONS, {**decided, "reasons": []}, **decided)
    return run


def test_what_makes_a_run_again_is_the_newest_revision_that_made_it(run: Path) -> None:
    for name, revision, started in (("pairs", "fff", 1.0), ("scores", "aaa", 2.0)):
        manifest = read_manifest(run / "round-1" / name)
        assert manifest
        of_then = replace(manifest, revision=revision, started=started)
        save_manifest(run / "round-1" / name, of_then)
    manifests = [step.manifest for step in step_summaries(run)]
    made = provenance(run, [one for one in manifests if one.revision in ("fff", "aaa")])
    assert list(made.revisions) == ["fff", "aaa"] and made.repeat[0] == "git checkout aaa"


@pytest.mark.parametrize("name", ["scores/part-00000.parquet", "policy/metrics.parquet"])
def test_a_round_whose_table_is_damaged_says_so_among_the_others(run: Path, name: str) -> None:
    shutil.copytree(run / "round-1", run / "round-2")
    part = run / "round-1" / name
    whole = part.read_bytes()
    part.write_bytes(whole[:40])
    page = write_report(run).read_text()
    assert page.count("Not drawn: ") == 1 and f"{part}: is no whole parquet file" in page
    assert page.count("Sample pairs") == 1
    part.write_bytes(whole)
    assert "Not drawn" not in write_report(run).read_text()


def test_a_copy_that_lies_beside_a_round_is_none(run: Path) -> None:
    for name in ("round-1.bak", "round-old"):
        shutil.copytree(run / "round-1", run / name)
    assert [data.number for data in trained_rounds(run)] == [1]
    assert write_report(run).is_file()


def test_a_round_is_one_line_of_what_a_reader_wants_first(judged: Path) -> None:
    row = round_row(RoundData(judged / "round-1"))
    assert row["verdict"] == Cell("worse", mood="bad")
    assert row["trained reward"] == Cell("+0.1000", "+0.0500 to +0.2000", "good")
    assert row["second reward"] == Cell()
    assert row["win rate, %"] == Cell("61.0", "56.0 to 66.0")
    assert row["answer, tokens"] == Cell("60.0", "40.0 before")
    assert row["chosen / rejected"] == Cell("40.0 / 30.5", "chosen longer: 100 %")
    assert row["drift, nats"] == Cell("0.125", "0.100 to 0.150")
    assert row["repeated, %"] == Cell("25.00")
    assert int(row["dropped"].text) == 3 * len(RoundData(judged / "round-1").manifests)
    assert row["gate"] == Cell("stop", "by ada")
    lines = table_lines([RunRounds("run", "", trained_rounds(judged))])
    assert "second reward" not in shown_columns(lines), "of which nothing is known"


def test_a_round_that_is_not_evaluated_has_a_line_too(judged: Path) -> None:
    shutil.copytree(judged / "round-1", judged / "round-2")
    shutil.rmtree(judged / "round-2" / "evaluation")
    page = write_report(judged).read_text()
    assert '<a href="#round-1">round 1</a>' in page and ">round 2</a>" in page


def test_the_legend_explains_the_columns_that_are_there_and_no_others(judged: Path) -> None:
    page = write_report(judged).read_text()
    assert "<b>Drift</b>" in page and "<b>second</b>" not in page
    assert "<b>Missing scores" not in page
    shutil.rmtree(judged / "round-1" / "evaluation" / "verdict")
    page = write_report(judged).read_text()
    assert "<b>Drift</b>" not in page and "<b>Win rate</b>" not in page


def test_every_part_of_the_page_goes_by_the_rounds_order(judged: Path) -> None:
    shutil.copytree(judged / "round-1", judged / "round-2")
    page = write_report(judged).read_text()
    assert page.index('<h2 id="round-1">') < page.index('<h2 id="round-2">')


def test_what_was_taken_over_costs_this_run_no_time_and_has_no_speed(judged: Path) -> None:
    folder = judged / "round-1" / "responses"
    made = read_manifest(folder)
    assert made
    save_manifest(folder, type(made)(**{**vars(made), "seconds": 7200.0}))
    assert round_row(RoundData(judged / "round-1"))["time"].text == "2:00:00"
    save_manifest(folder, type(made)(**{**vars(made), "seconds": 7200.0, "taken_from": "other"}))
    row = round_row(RoundData(judged / "round-1"))
    assert row["time"].text == "0:00:00" and row["samples/s"] == Cell()


def test_each_stage_says_how_busy_the_gpus_were(judged: Path) -> None:
    folder = judged / "round-1" / "pairs"
    made = read_manifest(folder)
    assert made and made.busy is None

    def told() -> str:
        return next(step.busy for step in step_summaries(judged) if step.folder == folder)

    assert told() == "not measured"
    for changed, said in (({"busy": 0.873}, "87"), ({"busy": 0.873, "taken_from": "other"}, "")):
        save_manifest(folder, replace(made, **changed))
        assert told() == said
    assert "GPUs busy, %" in write_report(judged).read_text()


def test_the_page_begins_with_who_made_it_and_ends_with_how_to_make_it_again(judged: Path) -> None:
    started = {"host": "node7", "command": f"onpolicy run '{EVIL}'", "at": 1.0}
    (judged / START).write_text(json.dumps(started))
    page = write_report(judged).read_text()
    head, rest = page.split('<h2 id="round-1">')
    for text in ("on node7", "onpolicy run &#39;&lt;script&gt;", "Reward and length by round"):
        assert text in head
    for text in ("Norm of the gradient", "Share of pairs"):
        assert text not in page  # this run's metrics have neither
    for text in (
        '<a href="round-1/pairs/">pairs</a>',
        "<details><summary>Config</summary>",
        "run/config.yaml name=run-again",
        "answer tokens/s",
    ):
        assert text in rest
    assert "<script" not in page


def test_a_process_that_draws_a_share_tells_what_it_could_not(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many rounds are shared out; here one that holds no round is among them."""
    broken = [RoundData(run / "round-1" / "nothing")] * 8
    monkeypatch.setattr(redraw, "finished_rounds", lambda _: broken)
    monkeypatch.setattr(redraw, "cores", lambda: 2)
    with pytest.raises(UserError, match="nothing/scores"):
        redraw.redraw(run)


def test_drops_are_told_by_step_and_reason_with_their_share(judged: Path) -> None:
    drops = [(step.path, reason, count, share)
             for step, reason, count, share in drop_rows(step_summaries(judged))]  # fmt: skip
    assert ("round-1/pairs", EVIL, 3, 0.75) in drops  # one row was kept
    assert "75.00" in write_report(judged).read_text()


def test_two_runs_stand_round_by_round_on_one_page_with_where_they_differ(judged: Path) -> None:
    other = judged.with_name("other")
    shutil.copytree(judged, other)
    write(other / "round-1" / "pairs", PAIRS, PAIR, **PAIRED | {"margin_mean": 0.75})
    (other / "config.yaml").write_text("policy: {path: x}\ntraining: {learning_rate: 1.0e-4}\n")
    page = write_comparison(judged, other)
    text = page.read_text()
    assert page == judged / "compare-other.html"
    for part in (
        '<a href="report.html">run</a>',
        '<a href="../other/report.html">other</a>',
        '<a href="../other/report.html#round-1">round 1</a>',
        ">0.75<",
        "{&#34;learning_rate&#34;: 0.0001}",
    ):
        assert part in text
    assert "<script" not in text


def test_a_comparison_without_a_trained_round_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "round-1")
    with pytest.raises(UserError, match="no round is trained yet"):
        write_comparison(run, run)
    with pytest.raises(UserError, match="no run lies here"):
        write_comparison(run, tmp_path / "nowhere")

"""The report of a run: what a model or a prompt says is text in it, never markup."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_facts import made_facts
from reported_run import (
    EVIL,
    FORMATTED,
    GAIN,
    GAINS,
    PAIR,
    PAIRED,
    RESPONSE,
    SAMPLED,
    SCORE,
    SCORED,
    SHARES,
    TOKEN,
    say,
    write,
)

from contracts.errors import UserError
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import (
    PAIRS,
    PROMPTS,
    REASONS,
    RESPONSES,
    SCORES,
    TOKENS,
    WIN_RATES,
)
from flows.report.evaluation_page import evaluation_lines
from flows.report.html import draw_section, is_reported, write_report
from flows.report.run_data import RoundData


def test_text_of_models_prompts_and_configs_cannot_become_a_script(run: Path) -> None:
    page = write_report(run).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_the_report_shows_gains_drops_and_curves(run: Path) -> None:
    page = write_report(run).read_text()
    for text in ("[+0.0500, +0.2000]", "Loss", "Margins of the pairs", "3 &lt;script"):
        assert text in page


def test_the_report_shows_the_pairs_lengths_and_what_was_taken_off_for_them(run: Path) -> None:
    page = write_report(run).read_text()
    assert "40.0, 30.5 tokens; the chosen one is longer in 100.0 % of the pairs" in page
    assert "0.00125 a token, taken off each score" in page


def test_a_gain_is_green_only_where_the_answers_without_a_score_cannot_undo_it(run: Path) -> None:
    good = 'class="number good" data-label="gain over start">+0.1000'
    assert good in write_report(run).read_text()
    unsure = GAIN | {"at_lowest": -0.03, "at_highest": 0.3, "verdict": "unclear"}
    shares = {"start": 0.0, "before": 0.0, "after": 0.4}
    gains = GAINS | {"over_start": unsure, "over_before": unsure, "unscored": shares}
    write(run / "round-1" / "evaluation" / "comparison", SCORES, SCORE,
          gains={EVIL: gains, "torn": SHARES})  # fmt: skip
    page = write_report(run).read_text()
    assert 'class="number good"' not in page
    for text in (
        "missing scores lowest: -0.0300<br>missing scores highest: +0.3000",
        "0.0, 0.0, 40.0<",
        "no prompt of which",
    ):
        assert text in page


def rate(value: float) -> dict[str, Any]:
    interval = {"value": value, "low": value - 5, "high": value + 5}
    return {"n": 64, "win_rate": interval, "ties": 0.125, "unscored": 2, "unpaired": 0,
            "at_lowest": value, "at_highest": value}  # fmt: skip


def test_a_round_begins_with_its_verdict_its_reasons_and_the_win_rates(run: Path) -> None:
    assert "Verdict" not in write_report(run).read_text()
    reasons = [{"measure": "second_reward", "effect": "better", "says": "0.3 (0.1 to 0.5) gain"},
               {"measure": "length", "effect": "worse", "says": "1.5 times as long"},
               {"measure": "gsm8k", "effect": "missing", "says": "not measured"}]  # fmt: skip
    row = {"measure": "length", "effect": "worse", "says": EVIL}
    lengths = {"before": 40.0, "after": 60.0}
    rates = {"over_start": {"truth": rate(70.25)}, "over_before": {"truth": rate(61.0)}}
    facts = {"outcome": "worse", "reasons": reasons, "evidence": {"length": lengths},
             "trained_by": EVIL, "second": "truth", "lengths": lengths, **rates}  # fmt: skip
    write(run / "round-1" / "evaluation" / "verdict", REASONS, row, **facts)
    page = write_report(run).read_text()
    for text in (
        '<span class="bad">worse than the policy it began from: length</span>',
        "second reward by truth, which did not",
        "1.5 times as long",
        "neither for nor against: GSM8K",
        "61.0 <small>[56.0, 66.0]</small>",
        "40.0 tokens before, 60.0 after",
    ):
        assert text in page
    assert "<script" not in page


def rows(folder: Path, schema: pa.Schema, many: list[dict[str, Any]], **facts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder, 0, pa.Table.from_pylist(many, schema=schema), schema)
    write_manifest(folder, "stage", Result(len(many), {}, made_facts(facts)), Manifest.clock())


def evaluate(run: Path) -> None:
    """Forty held-out prompts, of which a tenth became worse than at the start."""
    asked = {"messages": say("user"), "source": "s", "split": "test"}
    prompts = [{"prompt_id": f"p{number}", **asked} for number in range(40)]
    rows(run / "round-0" / "prompts", PROMPTS, prompts)
    for name, gain in {"round-0": 0.0, "round-1": 0.5}.items():
        scores, responses = [], []
        for number in range(40):
            key = {"prompt_id": f"p{number}", "response_id": f"p{number}-0"}
            score = number / 100 + (gain if number % 10 else -gain * (1 + number))
            scores.append({**key, "annotator": "truth", "score": score, "objectives": [1.0, gain]})
            text = f"{name} {number} {EVIL}"
            responses.append({**RESPONSE, **key, "text": text, "n_tokens": number})
        rows(run / name / "evaluation" / "scores", SCORES, scores)
        rows(run / name / "evaluation" / "responses", RESPONSES, responses, **SAMPLED, repetition=0)
    keys = "policy: {path: google/gemma-2-9b-it}\ntraining: {loss: {kind: simpo}}\n"
    (run / "config.yaml").write_text(keys)


JUDGED: dict[str, Any] = {
    "judge": "gpt", "model": "gpt-4-1106-preview", "benchmark": "alpaca_eval", "n": 795,
    "generator": "x", "baseline": "b", "asked": 805, "average_length": 1850,
    "unscored": {"refused": 2, "unparsed": 8},
    "figures": {"lc_win_rate": {"value": 71.0, "low": 69.0, "high": 73.0}},
    "gains": {"lc_win_rate": {"value": 20.0, "low": 17.0, "high": 23.0}},
    "noise": {"pairs": 50, "same_side": {"value": 0.88, "low": 0.8, "high": 0.95},
              "difference": {"value": 0.0, "low": 0.0, "high": 0.0}, "spearman": 0.9},
    "between_orders": None, "not_comparable": [], "missing": {"style_controlled": "too few"},
}  # fmt: skip
WIN_RATE = {"judge": "gpt", "benchmark": "alpaca_eval", "figure": "win_rate", "value": 64.5,
            "low": 60.0, "high": 68.0, "n": 100, "asked": 805}  # fmt: skip


def test_the_evaluation_stands_beside_the_published_figures_with_parts_and_examples(
    run: Path,
) -> None:
    evaluate(run)
    rates = {"over_start": {"truth": rate(70.25)}, "over_before": {"truth": rate(61.0)}}
    facts = {"outcome": "better", "reasons": [], "evidence": {}, "trained_by": "rm",
             "second": "truth", "lengths": {"before": 40.0, "after": 60.0}, **rates}  # fmt: skip
    row = {"measure": "length", "effect": "same", "says": "x"}
    write(run / "round-1" / "evaluation" / "verdict", REASONS, row, **facts)
    named = [{**WIN_RATE, "part": part} for part in ("all", "category koala")]
    rows(
        run / "round-1" / "evaluation" / "win_rates",
        WIN_RATES,
        named,
        judged=[JUDGED],
        confidence=0.9,
    )
    page = write_report(run).read_text()
    for text in (
        "71.0 <small>[69.0, 73.0]</small>",  # now
        "20.0 <small>[17.0, 23.0]</small>",  # over the round before
        "88 % <small>of 50</small>",  # the noise floor
        "style controlled is not known: too few",
        "win rate<br><small>judgements without a score: 2 refused, 8 unparsed; over 795 of 805",
        "Intervals: 90 %",
        "category koala",
        "gemma-2-9b-it-SimPO",
        ">-1.4<",  # less the published 72.35, inside our interval
        "length 4: 30 to 39 tokens",
        "90.0 <small>",  # of each quarter
        "The largest losses over the start by truth",
        "round-0 30 &lt;script&gt;",
        "+0.5000",  # the second objective
    ):
        assert text in page, text
    assert "<script" not in page
    lines = "\n".join(evaluation_lines(RoundData(run / "round-1"))).replace("\\", "")
    for text in (
        "| gpt | alpaca_eval | lc_win_rate | 71.0 [69.0, 73.0] | 20.0 [17.0, 23.0] | 795 of 805 |",
        "| 1,850 | judgements without a score: 2 refused, 8 unparsed; over 795 of 805 prompts |",
        "| gpt | alpaca_eval | style_controlled | not known: too few |",
        "| gpt | alpaca_eval | category koala | 64.5 [60.0, 68.0] | 100 |",
        "| length 4: 30 to 39 tokens |",
        "## The largest losses over the start by truth",
        "round-0 30 &lt;script&gt;alert(1)&lt;/script&gt;",
        "## The reward model's objectives",
    ):
        assert text in lines, text
    assert "<script" not in lines


def test_the_report_says_how_bfloat16_scores_agree_with_float32(run: Path) -> None:
    assert "Agreement with float32" not in write_report(run).read_text()
    found = {"prompts": 1, "responses": 320, "rank_correlation": 0.99876, "flipped_pairs": 0.0625,
             "mean_absolute_difference": 0.00123, "deviation": 0.2}  # fmt: skip
    none = {"prompts": 0, "reason": EVIL}
    annotators = {EVIL: SCORED | {"agreement": found}, "big": SCORED | {"agreement": none}}
    write(run / "round-1" / "scores", SCORES, SCORE, annotators={**annotators, "exact": SCORED})
    page = write_report(run).read_text()
    for text in ("0.99876", "0.00123", "6.2 %", "not compared: &lt;script&gt;"):
        assert text in page
    assert "<script" not in page


def test_the_report_shows_what_the_published_format_reads_otherwise(run: Path) -> None:
    only = {"before": ["<start_of_turn>", "model", "\n"], "after": ["\n", "<eos>"]}
    published = {"pairs": 9, "only_in_recipe": only, "other_answer_tokens": 0.0,
                 "loss_tokens": {"standard": 10.0, "recipe": 15.0}}  # fmt: skip
    facts = FORMATTED | {"differs_from_recipe": published}
    write(run / "round-1" / "tokens", TOKENS, TOKEN, **facts)
    page = write_report(run).read_text()
    for text in ("1,234", "98.77 %", "10.0 tokens a response", "published 15.0",
                 "&lt;start_of_turn&gt;model\\n", "\\n&lt;eos&gt;"):  # fmt: skip
        assert text in page


@pytest.mark.parametrize(("after", "warned"), [(0.05, False), (0.4, True)])
def test_the_report_warns_where_the_answers_begin_to_repeat(run: Path, after, warned) -> None:
    for number, share in ((0, 0.02), (1, after)):
        folder = run / f"round-{number}" / "evaluation" / "responses"
        write(folder, RESPONSES, RESPONSE, **SAMPLED, repetition=share)
    page = write_report(run).read_text()
    assert f"before 2.0 %, after {100 * after:.1f} %" in page
    assert ("lower training.learning_rate" in page) == warned


def test_a_start_draws_the_sections_of_changed_rounds_alone(run: Path) -> None:
    shutil.copytree(run / "round-1", run / "round-2")
    rounds = [run / "round-1", run / "round-2"]
    assert [is_reported(folder) for folder in rounds] == [False, False]
    first = write_report(run).read_text()
    assert [is_reported(folder) for folder in rounds] == [True, True]

    drawn = {folder: (folder / ".section.html").stat().st_mtime_ns for folder in rounds}
    write(run / "round-2" / "pairs", PAIRS, PAIR | {"margin": 0.25}, **PAIRED)
    assert [is_reported(folder) for folder in rounds] == [True, False]
    page = write_report(run).read_text()
    now = {folder: (folder / ".section.html").stat().st_mtime_ns for folder in rounds}
    assert [now[folder] == drawn[folder] for folder in rounds] == [True, False]
    assert "0.2500" in page and "0.2500" not in first

    draw_section(RoundData(run / "round-1"))  # as `onpolicy report` does
    assert (run / "round-1" / ".section.html").stat().st_mtime_ns > now[run / "round-1"]


def test_a_section_from_elsewhere_can_run_nothing(run: Path) -> None:
    write_report(run)
    kept = run / "round-1" / ".section.html"
    kept.write_text(f"{kept.read_text()}{EVIL}")
    page = write_report(run).read_text()
    assert EVIL in page  # as any table of the folder, it is believed; the browser runs no script
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_a_page_that_was_deleted_is_written_again(run: Path) -> None:
    page = write_report(run)
    text = page.read_text()
    page.unlink()
    assert not is_reported(run / "round-1")
    assert write_report(run).read_text() == text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run lies here"):
        write_report(tmp_path)

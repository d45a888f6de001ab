"""The Prefect UI, in a real browser on a real server."""

import itertools
import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from browser import browser

from flows.report.compare import write_comparison

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
]

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=20000", "--window-size=1400,1400",
]  # fmt: skip


def page(chromium: str, url: str, profile: Path) -> str:
    """The page's DOM after its scripts ran."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def ask(server: dict[str, str], what: str, **which: Any) -> list[dict]:
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{what}/filter",
        json.dumps(which).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_run_reads_as_the_pipeline(
    demo_run: Path, prefect_server: dict[str, str], chromium: str, tmp_path: Path
) -> None:
    # The pages under docs/ run it again, where a report already stands and is not written anew.
    first_run, *_ = ask(
        prefect_server,
        "flow_runs",
        sort="START_TIME_ASC",
        flow_runs={"name": {"like_": "demo, round 1"}},
    )
    base = prefect_server["PREFECT_API_URL"].removesuffix("/api")
    dom = page(chromium, f"{base}/runs/flow-run/{first_run['id']}?tab=TaskRuns", tmp_path)
    for title in ("load prompts", "round 1: sample responses"):  # on the page's first screen
        assert title in dom
    tasks = ask(prefect_server, "task_runs", flow_runs={"id": {"any_": [first_run["id"]]}})
    in_order = sorted(tasks, key=lambda task: task["expected_start_time"])
    names = [task["name"] for task in in_order]
    steps = ("load prompts", "round 1: sample responses", "round 1: train policy")
    for before, after in itertools.pairwise([*steps, "round 1: write report"]):
        assert names.index(before) < names.index(after)


def test_progress_tables_and_pages_are_artifacts_whose_keys_read_as_the_pipeline(
    demo_run: Path, prefect_server: dict[str, str], chromium: str, tmp_path: Path
) -> None:
    artifacts = {found["key"]: found for found in ask(prefect_server, "artifacts")}
    ours = sorted(key for key in artifacts if key.startswith(("demo-00", "demo-round")))
    report, summary = ours[0], ours[ours.index("demo-round-01-00-summary")]
    sampled, paired, trained = (
        next(key for key in ours if re.fullmatch(rf"demo-round-01-\d\d-{name}", key))
        for name in ("responses-progress", "pairs-sample", "policy-metrics")
    )
    assert report == "demo-00-report"
    assert summary < sampled < paired < trained
    assert artifacts[sampled]["data"] == 100.0
    pairs = json.loads(artifacts[paired]["data"])
    assert len(pairs) == 10 and [*pairs[0]] == ["margin", "chosen", "rejected", "prompt"]
    assert "rewards/margins" in json.loads(artifacts[trained]["data"])[0]
    base = prefect_server["PREFECT_API_URL"].removesuffix("/api")
    dom = page(chromium, f"{base}/artifacts/artifact/{artifacts[summary]['id']}", tmp_path)
    assert "Margins of the pairs" in dom and 'src="data:image/svg+xml;base64,' in dom
    dom = page(chromium, f"{base}/artifacts/artifact/{artifacts[report]['id']}", tmp_path)
    assert "onpolicy browse" in dom and "trained reward" in dom


def test_the_report_shows_gains_plots_and_pairs_without_scripts(
    demo_run: Path, chromium: str, tmp_path: Path
) -> None:
    dom = page(chromium, (demo_run / "report.html").as_uri(), tmp_path)
    assert "<script" not in dom
    assert not re.findall(r" src=|<link", dom), "the report loads something"
    assert not re.findall(r'href="(?!#|prompts/|round-)[^"]*', dom), "a link leads elsewhere"
    for text in ("Held-out reward", "armorm", "truth", "Sample pairs", "Stages", "Loss"):
        assert text in dom
    for text in ("Reward and length by round", "Norm of the gradient", "to make it again"):
        assert text in dom
    for text in ("Verdict:", "Win rates by reward model", "<h3>Benchmarks</h3>"):
        assert text in dom
    assert dom.count("<svg") >= 6


def test_the_pages_of_one_run_and_of_two_read_at_both_widths_in_both_colours(
    demo_run: Path, chromium: str, tmp_path: Path
) -> None:
    pages = [demo_run / "report.html", write_comparison(demo_run, demo_run)]
    with browser(chromium, tmp_path) as looked:
        for path, width, dark in itertools.product(pages, (390, 1200), (False, True)):
            seen = looked.look(path.as_uri(), width, dark)
            assert "Trained reward" in seen.text and "round 1" in seen.text
            assert seen.problems == [] and not seen.scrolls_sideways
            assert [one for one in seen.asked if not one.startswith("data:")] == [path.as_uri()]

"""What Prefect's UI shows of a run: its name, its log lines, the keys of its artifacts."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.steps.manifest import Manifest
from flows.pipeline.log_lines import finished_line, leveled
from flows.prefect_ import artifacts
from flows.prefect_.artifacts import _drops, _key
from flows.prefect_.names import named
from runtime.progress import Reading


def finish(run: Path, number: int, last: str = "evaluation/verdict") -> None:
    folder = run / f"round-{number}" / last
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_manifest.json").write_text("{}")


def test_a_run_is_named_by_its_config_and_the_rounds_that_are_left(tmp_path: Path) -> None:
    config: dict[str, Any] = {"name": "demo", "runs_dir": str(tmp_path), "rounds": 2}
    assert named(config, next_round=False) == "demo, rounds 1 to 2"
    finish(tmp_path / "demo", 1)
    assert named(config, next_round=True) == "demo, round 2", "it adds none before all are done"
    finish(tmp_path / "demo", 2)
    assert named(config, next_round=False) == "demo"
    assert named(config, next_round=True) == "demo, round 3"
    (tmp_path / "demo" / "config.yaml").write_text("rounds: 3")  # a schedule has added one
    assert named(config, next_round=True) == "demo, round 3"


def test_a_round_that_is_not_evaluated_is_over_with_its_policy(tmp_path: Path) -> None:
    config = {"name": "demo", "runs_dir": str(tmp_path), "rounds": 3, "evaluation": {"every": 2}}
    finish(tmp_path / "demo", 1, last="policy")
    assert named(config, next_round=False) == "demo, rounds 2 to 3"


@pytest.mark.parametrize(("line", "level"), [
    ("INFO generation.sample: vllm is ready after 5.0 s", logging.INFO),
    ("WARNING generation.workers: worker 0 ended", logging.WARNING),
    ("INFO 11-22 08:20:00 [core.py:12] Initializing with config: {'a': 1}", logging.DEBUG),
    ("(EngineCore_DP0 pid=12) WARNING 11-22 08:20:00 [x.py:1] no CUDA", logging.WARNING),
    ("[2026-11-22 08:20:00,123] [INFO] [config.py:12:main] zero_enabled", logging.DEBUG),
    ("[2026-11-22 08:20:00,123] [WARNING] [config.py:12:main] slow", logging.WARNING),
    ("[rank0]:[W1122 08:20:00.123 ProcessGroup.cpp:1] not destroyed", logging.WARNING),
    ("/x/torch/nn.py:12: FutureWarning: will be gone", logging.WARNING),
    ("  warnings.warn(", logging.DEBUG),
    ("Loading shards: 100% Completed | 1/1 [00:00<00:00, 59.17it/s]", logging.DEBUG),
    ("anything else", logging.INFO),
])  # fmt: skip
def test_a_line_has_the_level_that_its_writer_meant(line: str, level: int) -> None:
    assert leveled(line)[0] == level


def test_our_own_lines_lose_the_level_that_the_record_has() -> None:
    assert leveled("INFO generation.sample: ready") == (logging.INFO, "generation.sample: ready")
    assert leveled("INFO __main__: ready") == (logging.INFO, "ready")


def test_a_steps_last_line_says_rows_time_and_drops_in_words() -> None:
    made = Manifest("x", 960, {"duplicate": 12}, {}, "", {}, 0.0, 6.0, {}, "")
    assert finished_line(made) == "960 rows in 6.0 s; dropped: 12 duplicate"
    assert _drops(made) == [{"reason": "duplicate", "rows": 12, "of all, %": 1.23}]


def test_a_models_answer_is_text_on_the_page_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(artifacts._publisher, "put", sent.append)
    answer = "<img src=x onerror=alert(1)> ![plot](http://evil.example/a.png)"
    artifacts.publish_table([{"margin": 0.5, "chosen": answer}], "demo", "pairs")
    shown = r"&lt;img src=x onerror=alert(1)&gt; \!\[plot\](http\://evil.example/a.png)"
    assert sent[0].args == ([{"margin": 0.5, "chosen": shown}],)


def test_keys_sort_as_the_pipeline_goes() -> None:
    run = Path("runs/demo")
    keys = [
        _key(run, "prompts", "progress"),
        _key(run, "round-1", "summary"),
        _key(run, "round-1/responses", "progress"),
        _key(run, "round-1/pairs", "sample"),
        _key(run, "round-1/policy", "progress"),
        _key(run, "round-1/evaluation/responses", "progress"),
        _key(run, "round-2", "summary"),
        _key(run, "round-2/responses", "progress"),
        _key(run, "round-10/responses", "progress"),
    ]
    assert keys == sorted(keys)
    assert keys[2].replace("02", "01") == keys[7].replace("02", "01"), "alike in each round"


def test_the_nodes_that_worked_are_a_table_by_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(artifacts, "publish_table", lambda rows, *_: shown.append(rows))
    monkeypatch.setattr(artifacts._publisher, "put", lambda _: None)
    step: Any = SimpleNamespace(run=tmp_path, path="round-1/responses", title="sample")
    here = artifacts.StepProgress(step)
    here.publish(Reading(1, 2, "samples", 0, 1.0))
    here.publish_nodes()
    assert shown == []
    spread = artifacts.StepProgress(step)
    spread.publish(Reading(1, 2, "samples", 0, 1.0, workers={"node a": 2}))
    shares = {"node a": 0.75, "node b": 0.25}
    spread.publish(Reading(2, 2, "samples", 0, 2.0, "", {"node b": 1}, shares))
    spread.publish_nodes()
    assert shown == [[
        {"node": "node a", "workers": 2, "of all, %": 75.0},
        {"node": "node b", "workers": 1, "of all, %": 25.0},
    ]]  # fmt: skip

"""Wrong input through the real command: one clear message, exit code 2, nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def environment(prefect_server: dict[str, str], demo_models: Path) -> dict[str, str]:
    return {**os.environ, **prefect_server}


def run(environment: dict[str, str], runs: Path, *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", "name=bad"]
    return subprocess.run(
        [*command, f"runs_dir={runs}", *overrides],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def written(folder: Path, *lines: str) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return f"prompts.path={path}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rat=1e-6", "did you mean 'training.learning_rate'?"),
        ("rounds=none", "rounds"),
        ("sampling.temperature=-1", "sampling.temperature"),
        ("rounds", "write it as key=value"),
        ("prompts.path=nowhere.jsonl", "nowhere.jsonl"),
        ("policy.path=./no-model", "no-model"),
    ],
)
def test_a_wrong_key_value_or_path_is_named(
    tmp_path: Path, environment: dict[str, str], override: str, message: str
) -> None:
    ended = run(environment, tmp_path, override)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_schedule_without_a_server_that_stays_is_refused(tmp_path: Path) -> None:
    own = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""}
    command = ["schedule", "configs/demo.yaml", "--cron", "0 2 * * *"]
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", *command],
        cwd=CHECKOUT, env=own, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "`onpolicy server`" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"prompt": "List two fruits."}', '{"prompt": '], "prompts.jsonl:2"),
        (['{"question": "List two fruits."}'], "question"),
        ([""], "prompts.jsonl"),
    ],
    ids=["malformed line", "wrong column", "empty file"],
)
def test_a_bad_prompt_file_is_named_with_its_line(
    tmp_path: Path, environment: dict[str, str], lines: list[str], message: str
) -> None:
    ended = run(environment, tmp_path, written(tmp_path, *lines))
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_config_on_a_runs_folder_changes_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert run(environment, tmp_path, "--until", "prompts").returncode == 0
    before = (tmp_path / "bad" / "config.yaml").read_bytes()
    ended = run(environment, tmp_path, "seed=7")
    assert ended.returncode == 2 and "seed: was 42, now 7" in ended.stderr
    assert (tmp_path / "bad" / "config.yaml").read_bytes() == before


def test_a_second_writer_is_told_who_the_first_one_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from contracts.steps.lock import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(120)"
    )
    folder = tmp_path / "bad"
    folder.mkdir()
    first = subprocess.Popen(
        [sys.executable, "-c", holder, str(folder)], stdout=subprocess.PIPE, cwd=CHECKOUT
    )
    try:
        assert first.stdout and first.stdout.readline()
        ended = run(environment, tmp_path)
        assert ended.returncode == 2
        assert f"process {first.pid} on" in ended.stderr
    finally:
        first.kill()
        first.wait()


def test_reward_models_and_functions_are_looked_at_before_anything_runs(
    tmp_path: Path, environment: dict[str, str], demo_models: Path
) -> None:
    headless = {"kind": "armorm", "name": "armorm", "path": str(demo_models / "policy")}
    nowhere = {"kind": "function", "name": "f", "function": "nomod:f"}
    override = f"annotation.annotators={json.dumps([headless, nowhere])}"
    ended = run(environment, tmp_path, override, "pairs.annotator=armorm")
    assert ended.returncode == 2, ended.stderr
    assert "annotation.annotators.0.path" in ended.stderr and "as ArmoRM" in ended.stderr
    assert "annotation.annotators.1: annotator 'f': nomod:f cannot be" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("*/config.yaml")), "nothing was begun"


def test_a_check_tells_all_that_is_amiss_and_writes_nothing(
    tmp_path: Path, demo_models: Path
) -> None:
    command = [sys.executable, "-m", "flows.cli.app", "check", "configs/demo.yaml"]
    wrong = ["policy.path=./typo", "prompts.path=nowhere.jsonl", f"runs_dir={tmp_path / 'runs'}"]
    ended = subprocess.run(
        [*command, *wrong], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "policy.path: ./typo" in ended.stderr and "prompts.path: nowhere" in ended.stderr
    assert not list(tmp_path.iterdir())

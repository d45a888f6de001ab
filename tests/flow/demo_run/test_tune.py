"""`onpolicy tune lr` for real: training through rates, a plot, a suggestion; the run untouched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import CHECKOUT

from contracts.steps.fingerprint import of_files
from contracts.tables.schemas import LEARNING_RATES

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tune(workplace: Path, prefect_server: dict[str, str]):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli.app", "tune", *arguments],
            cwd=workplace, env={**os.environ, **prefect_server, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def folder_of(workplace: Path, output: str) -> Path:
    """The test's folder, by the plot that the first line names."""
    plot = workplace / output.splitlines()[0].split()[-1]
    assert plot.read_bytes().startswith(b"\x89PNG")
    return plot.parent


def test_a_range_test_suggests_a_rate_and_leaves_the_run_as_it_was(
    tune, workplace: Path, demo_run: Path
) -> None:
    before = of_files(demo_run)
    asked = ("lr", "runs/demo", "--from", "1e-6", "--to", "1", "--steps", "30")
    ended = tune(*asked)
    assert ended.returncode == 0, ended.stderr
    folder = folder_of(workplace, ended.stdout)
    table = pq.read_table(folder / "part-00000.parquet")
    assert table.schema.equals(LEARNING_RATES)
    rates = table["learning_rate"].to_pylist()
    assert rates[0] == 1e-6 and rates == sorted(rates)
    facts = json.loads((folder / "_manifest.json").read_text())["facts"]
    assert 1e-5 < facts["suggestion"] < facts["lowest"] < 1
    assert ended.stdout.splitlines()[-1] == f"training.learning_rate={facts['suggestion']:.1e}"
    assert of_files(demo_run) == before
    again = tune(*asked)
    assert again.stdout == ended.stdout
    assert "done before" in again.stderr


def test_a_loss_with_a_reference_is_tested_beside_the_run(
    tune, workplace: Path, demo_run: Path
) -> None:
    before = of_files(demo_run)
    loss = "training.loss={kind: dpo, beta: 0.1}"
    one = "training.resources={strategy: none, processes: 1}"
    ended = tune("lr", "runs/demo/round-1", loss, one, "--steps", "10")
    assert ended.returncode == 0, ended.stderr
    folder = folder_of(workplace, ended.stdout)
    assert list((folder.parent / "reference").glob("part-*.parquet"))
    assert of_files(demo_run) == before


def test_rates_that_leave_for_good_end_the_test_early(
    tune, workplace: Path, demo_run: Path
) -> None:
    one = "training.resources={strategy: none, processes: 1}"
    ended = tune("lr", "runs/demo", one, "--from", "1", "--to", "1e30", "--steps", "20")
    assert ended.returncode == 0, ended.stderr
    folder = folder_of(workplace, ended.stdout)
    assert pq.read_table(folder / "part-00000.parquet").num_rows < 20
    assert "lower --from" in ended.stdout
    assert "training.learning_rate" not in ended.stdout


def test_a_config_that_never_ran_gets_its_pairs_made(tune, workplace: Path, demo_run: Path) -> None:
    small = ["prompts.limit=24", "prompts.test_size=8", "training.global_batch=8",
             "sampling.engine.kind=transformers", "name=fresh"]  # fmt: skip
    ended = tune("lr", "configs/demo.yaml", *small, "--steps", "10")
    assert ended.returncode == 0, ended.stderr
    fresh = workplace / "runs" / "fresh"
    assert (fresh / "round-1" / "tokens" / "_manifest.json").exists()
    assert not (fresh / "round-1" / "policy").exists()
    assert not (fresh / "round-0").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (["runs/nothing"], "is no run, no round and no config"),
    (["runs/demo", "seed=3"], "only training.* can change"),
    (["runs/demo/round-9"], "has rounds 1 to 1"),
    (["runs/demo", "--from", "1e-3", "--to", "1e-4"], "must be above low"),
    (["runs/demo", "training.lerning_rate=1"], "lerning_rate"),
])  # fmt: skip
def test_what_cannot_be_tested_is_one_message(
    tune, demo_run: Path, arguments: list[str], message: str
) -> None:
    ended = tune("lr", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr

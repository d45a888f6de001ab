"""The grid of a sweep, and the page that compares its points."""

from pathlib import Path

import pytest

from contracts.errors import UserError
from flows.sweep import points, run_sweep, write_comparison
from flows.tune import Asked, run_lr

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def test_a_grid_is_every_combination_in_order() -> None:
    assert points(["a=1,2", "b.c=x"]) == [["a=1", "b.c=x"], ["a=2", "b.c=x"]]


@pytest.mark.parametrize("entry", ["rounds", "=1", "seed="])
def test_an_entry_without_key_or_value_is_refused(entry: str) -> None:
    with pytest.raises(UserError, match="key=value,value"):
        points([entry])


def test_the_page_escapes_what_a_config_says_and_sorts_by_gain(tmp_path: Path) -> None:
    row = {"run": "r", "annotator": "armorm", "reward": 1.0, "low": 0.0, "high": 1.0,
           "loss": None, "margin": 0.5}  # fmt: skip
    rows = [row | {"point": "worse", "mean": 0.1}, row | {"point": "<b>best</b>", "mean": 0.9}]
    page = write_comparison(tmp_path / "sweep", rows).read_text()
    table = page[page.index("<table>") :]
    assert "&lt;b&gt;best&lt;/b&gt;" in table and "<b>" not in table
    assert table.index("best") < table.index("worse")


def test_several_machines_are_for_run_alone() -> None:
    machines = ["training.resources.machines=2"]
    with pytest.raises(UserError, match="onpolicy sweep` trains on one machine, set training"):
        run_sweep(DEMO, machines, ["seed=1,2"])
    with pytest.raises(UserError, match="onpolicy tune` trains on one machine, set training"):
        run_lr(DEMO, machines, Asked(None, None, 10))

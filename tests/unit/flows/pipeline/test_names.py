"""The name that a config runs under: its own, or one that its overrides give, ever the same."""

from pathlib import Path

import pytest
import yaml
from minimal_run import MINIMAL

from flows.pipeline import load_run as module
from flows.pipeline.config import RunConfig
from flows.pipeline.load_run import load_run


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_overrides_that_change_what_is_made_give_a_name_of_their_own(written: Path) -> None:
    named = load_run(written, ["seed=7"]).name
    assert named.startswith("test-") and len(named) == len("test-123456")
    assert load_run(written, ["seed=7"]).name == named
    assert load_run(written, ["seed=8"]).name != named
    assert load_run(written, ["rounds=3", "seed=42"]).name == "test"
    assert load_run(written, ["seed=7", "name=mine"]).name == "mine"


def test_an_upgrade_that_brings_a_key_finds_the_run_again(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Upgraded(RunConfig):
        smoothing: float = 0.0

    named = load_run(written, ["seed=7"]).name
    monkeypatch.setattr(module, "RunConfig", Upgraded)
    assert load_run(written, ["seed=7"]).name == named
    assert load_run(written, ["seed=7", "smoothing=0.1"]).name != named

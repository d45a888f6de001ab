"""Fixtures of several unit tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from annotation_steps import REWARDS, write_run
from judge_endpoint import KEY, Endpoint


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """6 prompts with 3 responses each, and a module of the user's with two reward functions."""
    (tmp_path / "annotation_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "annotation_rewards", raising=False)
    write_run(tmp_path)
    return tmp_path


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Starts chat endpoints that answer with what a function of the question says."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    running: list[Endpoint] = []

    def start(answer: Callable[[str], str | int | bytes]) -> Endpoint:
        running.append(Endpoint(answer))
        return running[-1]

    yield start
    for endpoint in running:
        endpoint.server.shutdown()
        endpoint.server.server_close()

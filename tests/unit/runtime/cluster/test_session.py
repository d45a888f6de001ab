"""What nodes answer when they are asked what they lack: Ray's own errors, without a cluster."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.utils import check_version_info
from ray.exceptions import (
    AuthenticationError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from contracts.errors import UserError
from runtime.cluster import session
from runtime.cluster.config import RayCluster
from runtime.cluster.seating import Node

A, B, GONE = (Node(name * 56, f"10.0.0.{name}", 8, 1) for name in "123")

NOTHING = json.dumps({"faults": [], "lacking": []})

Answers = dict[Node, str | Exception | None]
Ask = Callable[[Answers], list[float]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks nodes, of which A and B are alive, and says for how long it waited; an answer of None
    never comes."""
    waits: list[float] = []

    def once(answers: Answers) -> list[float]:
        given = iter(answers.values())

        def get(answer: str | Exception | None, timeout: float | None = None) -> str:
            assert answer is not None
            if isinstance(answer, Exception):
                raise answer
            return answer

        def wait(refs: Sequence[Any], num_returns: int, timeout: float) -> Any:
            waits.append(timeout)
            return [one for one in refs if one is not None], [one for one in refs if one is None]

        class Task:
            def options(self, **_: Any) -> Any:
                return self

            def remote(self, text: str) -> Any:
                return next(given)

        monkeypatch.setattr(session, "nodes", lambda: [A, B])
        monkeypatch.setattr(ray, "remote", lambda **_: lambda function: Task())
        monkeypatch.setattr(ray, "get", get)
        monkeypatch.setattr(ray, "wait", wait)
        session.refuse_unmet({}, answers)
        return waits

    return once


def task_error(last: str) -> RayTaskError:
    return RayTaskError("unmet", f"Traceback:\n  line 1\n{last}", ValueError(last), ip="10.0.0.1")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (task_error("PermissionError: denied"), "node 10.0.0.1 cannot be looked at: Permission"),
        (OutOfMemoryError("too little memory"), "cannot be looked at: too little memory"),
        (WorkerCrashedError(), "node 10.0.0.1 cannot be looked at: The worker died"),
        (task_error("ModuleNotFoundError: No module named 'runtime'"), "lacks this package"),
    ],
)
def test_a_node_that_cannot_be_looked_at_is_refused(ask: Ask, error: Exception, told: str) -> None:
    with pytest.raises(UserError, match=told):
        ask({A: error, B: NOTHING})


@pytest.mark.parametrize(
    "answers",
    [{}, {A: NOTHING, B: NOTHING}, {A: NodeDiedError("gone")},
     {A: TaskUnschedulableError("no node")}, {GONE: WorkerCrashedError()}],
)  # fmt: skip
def test_nodes_that_lack_nothing_or_are_lost_are_not_refused(ask: Ask, answers: Answers) -> None:
    ask(answers)


def test_nodes_that_do_not_answer_are_waited_for_together(ask: Ask) -> None:
    answers: Answers = {Node(f"{n:056x}", f"10.0.1.{n}", 8, 1): None for n in range(1, 50)}
    with pytest.raises(UserError) as caught:
        ask(answers)
    assert str(caught.value).count("did not answer in 120 s") == 49
    assert ask({A: NOTHING, B: NOTHING}) == [120.0, 120.0]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UserError, match=r"resources\.cluster: Ray is not installed .*onpolicy\[ray"
    ):
        session.connect(RayCluster())


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_told_with_the_command_that_starts_one(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError) as told:
        session.connect(RayCluster(address=address))
    assert f"resources.cluster: no Ray cluster answers at '{address}'" in str(told.value)
    assert "start one with `ray start --head` here" in str(told.value)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> "Refuse":
    """What is said where Ray refuses to be a driver of a cluster."""

    def once(raises: Callable[[], Any]) -> str:
        monkeypatch.setattr(session, "_knock", lambda _: None)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **_: raises())
        with pytest.raises(UserError) as refused:
            session.connect(RayCluster(address="head:6379"))
        return str(refused.value)

    return once


Refuse = Callable[[Callable[[], Any]], str]


def test_a_cluster_that_wants_a_token_is_told(refuse: Refuse) -> None:
    def init() -> None:
        raise AuthenticationError("no authentication token was found")

    assert "'head:6379' wants another token than this machine has; put its ~/.ray" in refuse(init)


def test_a_cluster_of_other_versions_is_told_with_both(refuse: Refuse) -> None:
    theirs = {"ray_version": "2.59.0", "python_version": "3.12.3", "ray_commit": "abc"}
    told = refuse(lambda: check_version_info(theirs, "10.0.0.1", raise_on_mismatch=True))
    assert "Ray: 2.59.0 Python: 3.12.3" in told and f"Ray: {ray.__version__}" in told
    assert "install the same set" in told and "ray start" not in told

"""Pushes go up in their order, from a thread, and none of them past a refused one."""

import threading

import pytest

from contracts.errors import UserError
from flows.pipeline.store.pusher import Pusher
from runtime.store.finished import TakenByAnother


def test_nothing_is_pushed_that_stands_on_a_refused_step() -> None:
    pusher, pushed, all_queued = Pusher(print), list[str](), threading.Event()

    def taken() -> None:
        assert all_queued.wait(60)
        raise TakenByAnother("responses: another machine has finished this step")

    pusher.put("responses", taken)
    for name in ("scores", "pairs"):
        pusher.put(name, lambda name=name: pushed.append(name))  # type: ignore[misc]
    all_queued.set()
    with pytest.raises(UserError, match="another machine"):
        pusher.finish()
    assert pushed == []


def test_a_push_that_fails_in_a_way_nobody_thought_of_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.pipeline.store.pusher._RETRY_SECONDS", 0.01)
    told, pushed, is_done = list[str](), list[str](), threading.Event()
    failures = [RuntimeError("can't start new thread")]

    def push() -> None:
        if failures:
            raise failures.pop()
        pushed.append("responses")
        is_done.set()

    pusher = Pusher(told.append)
    pusher.put("responses", push)
    assert is_done.wait(60)
    pusher.put("scores", lambda: pushed.append("scores"))
    pusher.finish()
    assert pushed == ["responses", "scores"]
    assert "not in the store yet (RuntimeError: can't start new thread)" in told[0]

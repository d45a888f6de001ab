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

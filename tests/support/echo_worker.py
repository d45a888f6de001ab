"""A worker without a model: it says everything back, and dies in the ways that workers do."""

import os
import signal

from runtime.pool.listening import Listener
from runtime.pool.messages import Link, WorkerMessage
from runtime.pool.placement import Places
from runtime.pool.worker import Patience, WorkerHandle


def work(link: Link) -> None:
    """Say everything back, in its order, for ever."""
    job = link.receive()["job"]
    link.send(ready={"pid": os.getpid(), **job})
    while True:
        match link.receive():
            case {"die": number}:
                os.kill(os.getpid(), number)
            case {"raise": reason}:
                raise ValueError(reason)
            case {"stop": _}:
                os.kill(os.getpid(), signal.SIGSTOP)
            case {"say": what}:
                link.send(said=what)


class EchoWorker(WorkerHandle):
    """Its handle: busy at all times, so that its silence means something."""

    busy = True

    def __init__(self, places: Places, number: int = 0, patience: float = 60) -> None:
        self._listener = Listener[EchoWorker]()
        super().__init__(places, number, work, {"job": number}, Patience(patience), "nothing")

    def wait_until_ready(self) -> "EchoWorker":
        """It has said that it is ready."""
        while not self.ready:
            assert self._listener.poll([self]) == []
        return self

    def hear(self) -> WorkerMessage | None:
        """Its next message; None at its end."""
        while True:
            for _, message in self._listener.poll([self]):
                return message

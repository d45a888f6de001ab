"""Where a pool's workers sit in a cluster: one seat for each group of GPUs, on whatever node."""

import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from contracts.errors import OnPolicyError, UserError
from runtime.cluster.config import RayCluster
from runtime.cluster.models import delivered
from runtime.cluster.needs import needs_of
from runtime.cluster.seat import Seat
from runtime.cluster.seating import Request, seating
from runtime.cluster.session import connect, disconnect, nodes, refuse_lost, refuse_unmet
from runtime.cluster.wire import Inbox, RayWire
from runtime.pool.wire import Wire
from runtime.pool.worker_main import Work, name_of
from runtime.stage_process import exit_code

log = logging.getLogger(__name__)

_WATCH_SECONDS = 2.0
_GRACE_SECONDS = 10.0
# Ray places a worker within seconds where there is room.
_LATE_SECONDS = 60.0
# A node that was refused is tried again, for somebody may mend it: with a message each time.
_MEND_SECONDS = 300.0
# Of an actor: one waits for what the worker says, the others pass on what it is told.
_THREADS = 4


class RayPlacement:
    """Seats in a cluster. Nodes may go, and others come, while it is used."""

    def __init__(self, cluster: RayCluster, request: Request) -> None:
        """
        Raises:
            UserError: there is no such cluster, or no worker fits any of its nodes.
        """
        self._is_ours = connect(cluster)
        self._store = cluster.store
        known = nodes()
        self._seating = seating(known, request)
        self.workers = self._seating.room(known)
        self._needs = needs_of([], [])
        self._inbox = Inbox()
        self._seats: dict[int, Any] = {}
        self._wires: dict[int, RayWire] = {}
        self._lives = 0
        self._seen = self.workers
        self._delivery = threading.Thread()
        self._deliver_at = -math.inf
        self._closing = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def require(self, models: Iterable[str], files: Iterable[Path] = ()) -> None:
        """Have every node looked at before a worker is begun.

        Args:
            models: what workers load.
            files: what they read beside.

        Raises:
            UserError: a node has other packages, or lacks a model's folder and cannot fetch it.
            OnPolicyError: the store, from which it is to fetch that, fails.
        """
        needs = needs_of(models, files, self._store)
        known = nodes()
        lacking = refuse_unmet(needs, [node for node in known if self._seating.fits(node)])
        self._needs = delivered(needs, lacking)

    def warm_up(self, modules: Sequence[str]) -> None:
        """Every worker imports for itself, on its node."""

    def start(self, number: int, work: Work, silence: float | None) -> Wire:
        """A worker in its seat, a new one where the seat is gone with its node.

        Raises:
            OnPolicyError: Ray has lost the cluster.
        """
        refuse_lost()
        last = self._wires.get(number)
        if last and last.seat_is_gone:
            self._free(number)
        if number not in self._seats:
            self._seats[number] = self._new_seat()
        self._lives += 1
        spec = json.dumps({
            "work": name_of(work), "path": sys.path, "needs": self._needs,
            "environment": self._environment(),
        })  # fmt: skip
        wire = RayWire(self._inbox, self._seats[number], self._lives, spec, silence)
        self._wires[number] = wire
        return wire

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """The wires whose messages have come; now and then none, so that new nodes are seen."""
        return self._inbox.wait(wires, min(seconds or _WATCH_SECONDS, _WATCH_SECONDS))

    def joined(self) -> int:
        """Workers that there is room for beside those that have a seat."""
        self._free_refused()
        return max(0, self._seen - len(self._seats))

    def close(self) -> None:
        """End the seats, their workers first: what follows wants their memory."""
        self._closing.set()
        with suppress(OnPolicyError):  # what Ray has lost it can not end, nor need it
            refuse_lost()
            self._end_seats()
        self._seats.clear()
        if self._is_ours:
            disconnect()

    def _end_seats(self) -> None:
        import ray

        began = [wire for wire in self._wires.values() if wire.begun and not wire.seat_is_gone]
        ended = [answer for wire in began if (answer := wire.end_process()) is not None]
        if ended:
            ray.wait(ended, num_returns=len(ended), timeout=_GRACE_SECONDS)
        for seat in self._seats.values():
            ray.kill(seat)

    def _free(self, number: int) -> None:
        """End a seat: one whose node is only out of reach holds its worker and GPUs otherwise."""
        import ray

        ray.kill(self._seats.pop(number))

    def _free_refused(self) -> None:
        """Free the seats of workers that were left out some time ago, since their node refused
        them; those of broken workers stay taken."""
        latest = time.monotonic() - _MEND_SECONDS
        for number, wire in list(self._wires.items()):
            if wire.is_dropped and wire.refused_at is not None and wire.refused_at < latest:
                self._free(number)
                del self._wires[number]

    def _new_seat(self) -> Any:
        import ray

        actor = ray.remote(Seat).options(
            num_gpus=self._seating.gpus,
            num_cpus=self._seating.cpus,
            max_restarts=0,
            max_concurrency=_THREADS,
            enable_task_events=False,  # of a thousand calls a second, to Ray's head
        )
        return actor.remote()

    def _environment(self) -> dict[str, str]:
        """Threads as machine 0 has them set, for they move the last bits; else a core each."""
        if self._seating.gpus:
            names = ("OMP_NUM_THREADS",)
            return {name: os.environ[name] for name in names if name in os.environ}
        defaults = {
            "OMP_NUM_THREADS": str(self._seating.cpus),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
        return {name: os.environ.get(name, value) for name, value in defaults.items()}

    def _watch(self) -> None:
        late = 0
        while not self._closing.wait(_WATCH_SECONDS):
            late = self._tell_late(late)
            self._deliver_late()
            with suppress(OnPolicyError):
                room = self._seating.room(nodes())
                if room != self._seen:
                    level = logging.WARNING if room < self._seen else logging.INFO
                    log.log(level, "the cluster has room for %d workers by now", room)
                self._seen = room

    def _deliver_late(self) -> None:
        """Bring to the store what nodes that came later lack, and begin the workers that wait for
        it. In a thread of its own, for weights take minutes, and nodes come and go meanwhile."""
        waiting = self._short_of_models
        lacking = {path for wire in waiting for path in wire.lacking} - self._needs["stored"].keys()
        is_time = time.monotonic() >= self._deliver_at and not self._delivery.is_alive()
        if lacking and is_time:
            self._delivery = threading.Thread(target=self._deliver, args=(lacking,), daemon=True)
            self._delivery.start()
        for wire in waiting:
            if self._needs["stored"].keys() >= {*wire.lacking}:
                wire.begin_with(self._needs)

    @property
    def _short_of_models(self) -> list[RayWire]:
        return [wire for wire in list(self._wires.values()) if wire.lacking and wire.is_waiting]

    def _deliver(self, lacking: Collection[str]) -> None:
        try:
            self._needs = delivered(self._needs, lacking)
        except (OnPolicyError, OSError) as error:
            names = ", ".join(sorted(lacking))
            if exit_code(error) == UserError.exit_code:  # no use to ask again
                for wire in self._short_of_models:
                    wire.refuse(f"its node lacks {names}: {error}")
                return
            self._deliver_at = time.monotonic() + _MEND_SECONDS
            log.warning(
                "nodes lack %s, which is tried again in %d s: %s", names, _MEND_SECONDS, error
            )

    def _tell_late(self, before: int) -> int:
        """How many workers have waited for long; told where they are more than before."""
        latest = time.monotonic() - _LATE_SECONDS
        wires = list(self._wires.values())
        late = sum(wire.asked_at < latest for wire in wires if wire.is_waiting)
        if late > before:
            log.warning(
                "%d of %d workers have not begun for %d s: other jobs may hold the cluster's GPUs "
                "or CPUs (`ray status` tells), or their nodes still fetch a model",
                late, len(wires), _LATE_SECONDS,
            )  # fmt: skip
        return late

"""How processes find each other, and how they wait for one that works alone for long."""

import os
from datetime import timedelta
from typing import Any

import torch

from training.launch.accelerate import STORE

# NCCL's watchdog ends a job whose collective waits for 10 minutes. One process may need more for
# files: a 70B model's checkpoint is 840 GB, its policy 140, and a slow disk writes 120 MB/s.
PATIENCE = timedelta(hours=2)


def meeting() -> dict[str, Any]:
    """Arguments of init_process_group: processes meet in a file where they are all on one
    machine (training.launch.accelerate), else at machine 0."""
    path = os.environ.get(STORE)
    if not path:
        return {}
    rank, processes = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    return {"init_method": f"file://{path}", "rank": rank, "world_size": processes}


class PatientMeetings:
    """Waiting for all processes at the group's store, where NCCL's watchdog doesn't look on."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._held = 0

    def wait(self) -> None:
        """Wait until every process is here.

        Raises:
            torch.distributed.DistStoreError: one did not come within PATIENCE.
        """
        if self._processes == 1:
            return
        store = torch.distributed.distributed_c10d._get_default_store()
        self._held += 1
        name = f"onpolicy/meeting/{self._held}"
        if store.add(name, 1) == self._processes:
            store.set(f"{name}/all", "here")
        store.wait([f"{name}/all"], PATIENCE)

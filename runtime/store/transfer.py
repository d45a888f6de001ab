"""Files out of a store, each checked by its fingerprint before it is used."""

import os
from collections.abc import Mapping
from pathlib import Path

from contracts.steps import fingerprint
from runtime.store.objects import Objects, StoreError, at_once

# For a file that came, but cut or changed; requests that fail are repeated by obstore.
_TRIES = 3


def receive_all(objects: Objects, wanted: Mapping[str, tuple[str, str]], folder: Path) -> None:
    """Fetch files into a folder, onto its disk; those that are there already, and right, stay.

    Args:
        wanted: key and fingerprint by the file's name in the folder.

    Raises:
        StoreError: a file did not come, or is another than it should be.
        OSError: the disk is full.
    """

    def receive(name: str) -> None:
        key, expected = wanted[name]
        path = folder / name
        if path.is_file() and fingerprint.of_file(path) == expected:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            objects.receive(key, path)
            if fingerprint.of_file(path) == expected:
                return
        path.unlink()
        raise StoreError(
            f"{objects.address}/{key}: is not what was pushed (it has another fingerprint); "
            "remove its step's folder from the store, and the step is made anew"
        )

    def sync(name: str) -> None:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())

    at_once(receive, list(wanted))
    at_once(sync, list(wanted))  # at the end: the disk is at it meanwhile

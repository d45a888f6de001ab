"""How nodes come by models: from the hub, from a folder that they see, or from a store."""

import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contracts.models.copies import environment_for
from contracts.models.fetch import fetch_models
from runtime.store.copies import copy_of
from runtime.store.models import StoredModel, deliver
from runtime.store.objects import Objects


def delivered(needs: dict[str, Any], lacking: Collection[str]) -> dict[str, Any]:
    """The needs with where in the store nodes find those models' folders which some of them lack.

    Raises:
        OnPolicyError: as `runtime.store.models.deliver`.
    """
    if not lacking:
        return needs
    objects = Objects(needs["store"])
    stored = {path: asdict(deliver(objects, Path(path))) for path in sorted(lacking)}
    return needs | {"stored": needs["stored"] | stored}


def bring_models(needs: dict[str, Any]) -> dict[str, str]:
    """Have on this node what its processes load; the environment in which they find it.

    Raises:
        OnPolicyError: the hub or the store does not have it, or cannot be reached.
    """
    fetch_models(needs["models"])
    absent = {name: path for name, path in needs["folders"].items() if not os.path.exists(path)}
    if not absent:
        return {}
    objects, stored = Objects(needs["store"]), needs["stored"]
    copies = {
        name: str(copy_of(objects, StoredModel(**stored[path]))) for name, path in absent.items()
    }
    return environment_for(copies)

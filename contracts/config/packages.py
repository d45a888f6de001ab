"""The installed packages whose variants a config holds."""

from typing import Any

from pydantic import BaseModel

from contracts.config.base import Resources
from contracts.config.variants import PACKAGES, kind_of


def packages_in(value: Any) -> dict[str, str]:
    """Name and version of each: they decide a step's output as its keys do. Those of variants that
    are `Resources`, such as trackers, decide nothing of it and are left out.
    """
    if isinstance(value, Resources):
        return {}
    if isinstance(value, BaseModel):
        packages = packages_in([getattr(value, name) for name in type(value).model_fields])
        if package := PACKAGES.get(type(value)):
            packages[f"package of kind {kind_of(type(value))}"] = package
        return packages
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {key: name for item in value for key, name in packages_in(item).items()}
    return {}


def loaded_packages() -> list[str]:
    """Names of the installed packages whose variants this process has loaded."""
    return sorted({told.split(" ")[0] for told in PACKAGES.values() if " " in told})

"""Whether a LoRA adapter's tensors are those of its config, on the base that it is for."""

import json
import re
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.models.architecture import language_model
from contracts.models.model import local_folder
from contracts.models.weights import Shapes, read_config, read_header, refuse_differences

WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# With one of these, `target_modules` alone does not say which layers have matrices.
_NARROWED = ("layers_to_transform", "layers_pattern", "exclude_modules")


def refuse_other_adapter(folder: Path, base: str) -> None:
    """Refuse an adapter that is cut, lacks a matrix, or has one that does not fit the base.

    Of a base that is on the hub alone, or of a family that is not known here, only the files
    are checked, and peft judges the rest.

    Raises:
        UserError: names file or tensors.
    """
    shapes = read_header(folder / WEIGHTS)
    own = local_folder(base)
    expected = language_model(read_config(own)) if own else None
    if expected is None:
        return
    wanted = {name.removesuffix(".weight"): shape for name, shape in expected.items()}
    there = {(match["module"], match["side"]): shape
             for name, shape in shapes.items() if (match := _NAME.fullmatch(name))}  # fmt: skip
    modules = {module for module, _ in there} | set(_targets(folder, wanted))
    strange = {module for module in modules if len(wanted.get(module, ())) != 2}
    known = sorted(modules - strange)
    refuse_differences(
        f"{folder}: does not fit {base}",
        missing=[_named(m, side) for m in known for side in "AB" if (m, side) not in there],
        extra=[_named(m, side) for m, side in there if m in strange],
        misshaped=[bad for m in known for bad in _misshaped(m, there, wanted[m])],
    )


def _misshaped(
    module: str, there: dict[tuple[str, str], tuple[int, ...]], wanted: tuple[int, ...]
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Of A [rank, in] and B [out, rank] those that fit neither the layer nor each other."""
    down, up = there.get((module, "A")), there.get((module, "B"))
    if not down or not up:
        return []
    sizes = {"A": (down, (down[0], wanted[1])), "B": (up, (wanted[0], down[0]))}
    return [(_named(module, side), *both) for side, both in sizes.items() if both[0] != both[1]]


def _targets(folder: Path, wanted: Shapes) -> list[str]:
    """The base's layers that the adapter's config gives matrices, where it lists them."""
    settings = read_settings(folder)
    names = settings.get("target_modules")
    if not isinstance(names, list) or any(settings.get(key) for key in _NARROWED):
        return []
    ends = tuple(f".{name}" for name in names)
    return [module for module, shape in wanted.items()
            if len(shape) == 2 and f".{module}".endswith(ends)]  # fmt: skip


def read_settings(folder: Path) -> dict[str, Any]:
    """An adapter's adapter_config.json.

    Raises:
        UserError: it is not there, or is damaged.
    """
    path = folder / "adapter_config.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _named(module: str, side: str) -> str:
    return f"base_model.model.{module}.lora_{side}.weight"

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
_NAME = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_((?P<side>[AB])\.weight|embedding_(?P<row>[AB]))"
)
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
    there = _matrices(shapes)
    modules = {module for module, _ in there} | set(_targets(folder, wanted))
    strange = {module for module in modules if len(wanted.get(module, ())) != 2}
    known = sorted(modules - strange)
    refuse_differences(
        f"{folder}: does not fit {base}",
        missing=[_named(m, side) for m in known for side in "AB" if (m, side) not in there],
        extra=[_named(m, side) for m, side in there if m in strange],
        misshaped=[bad for m in known for bad in _misshaped(m, there, wanted[m])],
    )


def _matrices(shapes: Shapes) -> dict[tuple[str, str], tuple[int, ...]]:
    """Layer and side (A or B) to the shape, of those under the name that the layer's kind has."""
    found = {}
    for name, shape in shapes.items():
        if match := _NAME.fullmatch(name):
            key = match["module"], match["side"] or match["row"]
            if _named(*key) == name:
                found[key] = shape
    return found


def _misshaped(
    module: str, there: dict[tuple[str, str], tuple[int, ...]], wanted: tuple[int, ...]
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Of A [rank, in] and B [out, rank] those that fit neither the layer nor each other.

    A linear layer's weight is [out, in], an embedding's [in, out].
    """
    down, up = there.get((module, "A")), there.get((module, "B"))
    if not down or not up:
        return []
    out, in_ = reversed(wanted) if _is_embedding(module) else wanted
    sizes = {"A": (down, (down[0], in_)), "B": (up, (out, down[0]))}
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
    """As peft names a matrix: an embedding's are no layers of their own, so have no `.weight`."""
    own = f"lora_embedding_{side}" if _is_embedding(module) else f"lora_{side}.weight"
    return f"base_model.model.{module}.{own}"


def _is_embedding(module: str) -> bool:
    return module.endswith("embed_tokens")

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

    If the base is only on the hub, or its family is not known here, only the files are checked;
    peft judges the rest.

    Raises:
        UserError: names file or tensors.
    """
    shapes = read_header(folder / WEIGHTS)
    base_folder = local_folder(base)
    expected = language_model(read_config(base_folder)) if base_folder else None
    if expected is None:
        return
    weights = {name.removesuffix(".weight"): shape for name, shape in expected.items()}
    matrices = _matrices(shapes)
    modules = {module for module, _ in matrices} | set(_targets(folder, weights))
    strange = {module for module in modules if len(weights.get(module, ())) != 2}
    known = sorted(modules - strange)
    refuse_differences(
        f"{folder}: does not fit {base}",
        missing=[_named(m, side) for m in known for side in "AB" if (m, side) not in matrices],
        extra=[_named(m, side) for m, side in matrices if m in strange],
        misshaped=[bad for m in known for bad in _misshaped(m, matrices, weights[m])],
    )


def _matrices(shapes: Shapes) -> dict[tuple[str, str], tuple[int, ...]]:
    """Layer and side (A or B) to the shape, of those under the name that the layer's kind has."""
    matrices = {}
    for name, shape in shapes.items():
        if match := _NAME.fullmatch(name):
            key = match["module"], match["side"] or match["row"]
            if _named(*key) == name:
                matrices[key] = shape
    return matrices


def _misshaped(
    module: str, matrices: dict[tuple[str, str], tuple[int, ...]], weight: tuple[int, ...]
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Of A [rank, in] and B [out, rank] those that fit neither the layer nor each other.

    A linear layer's weight is [out, in], an embedding's [in, out].
    """
    down, up = matrices.get((module, "A")), matrices.get((module, "B"))
    if not down or not up:
        return []
    out, in_ = reversed(weight) if _is_embedding(module) else weight
    sizes = {"A": (down, (down[0], in_)), "B": (up, (out, down[0]))}
    return [(_named(module, side), *both) for side, both in sizes.items() if both[0] != both[1]]


def _targets(folder: Path, weights: Shapes) -> list[str]:
    """The base's layers that the adapter's config lists by name; empty if it lists none."""
    settings = read_settings(folder)
    names = settings.get("target_modules")
    if not isinstance(names, list) or any(settings.get(key) for key in _NARROWED):
        return []
    ends = tuple(f".{name}" for name in names)
    return [module for module, shape in weights.items()
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
    """peft's name of a matrix: an embedding's are no layers of their own, so have no `.weight`."""
    tensor = f"lora_embedding_{side}" if _is_embedding(module) else f"lora_{side}.weight"
    return f"base_model.model.{module}.{tensor}"


def _is_embedding(module: str) -> bool:
    return module.endswith("embed_tokens")

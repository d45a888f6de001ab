"""Shapes of tensors, compared with signatures as the tests run; in production they are words."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from jaxtyping import AbstractArray, install_import_hook

# The modules whose signatures say shapes. The hook sees only what is imported after it.
WITH_SHAPES = [
    "training.losses", "training.packed", "training.loop", "training.engines",
    "annotation.armorm.flex_mask", "annotation.armorm.last_layer", "annotation.armorm.model",
    "annotation.armorm.scorer", "annotation.armorm.shared_prompt", "annotation.scorers.pairrm",
    "annotation.scorers.reward_models",
]  # fmt: skip


def check_shapes() -> None:
    """Have every call into these modules compare its tensors with its signature."""
    install_import_hook(WITH_SHAPES, "shapes.comparing")


def comparing(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its shapes checked, and nothing else: mypy has seen the rest."""
    hints = function.__annotations__
    from beartype import beartype

    function.__annotations__ = {name: hint for name, hint in hints.items() if _has_shape(hint)}
    return beartype(function)


def _has_shape(hint: Any) -> bool:
    of_tensors = inspect.isclass(hint) and issubclass(hint, AbstractArray)
    return of_tensors or any(map(_has_shape, get_args(hint)))

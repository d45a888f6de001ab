"""Which attention a policy trains with here, and why."""

import logging
from importlib.util import find_spec
from typing import Any

import torch

from contracts.errors import UserError
from training.config import TrainResources
from training.packed import attention, flash, flex

log = logging.getLogger(__name__)


def attention_of(resources: TrainResources, config: Any) -> str:
    """transformers' name of the attention. SDPA has no soft-cap: it leaves Gemma-2's out.

    Raises:
        UserError: the attention asked for cannot do what the model needs, or is not here.
    """
    asked, caps = resources.attention, _caps_attention(config)
    if asked == "sdpa" and caps:
        raise UserError("resources.attention: this model soft-caps its attention scores, "
                        "which sdpa cannot; use segments or eager")  # fmt: skip
    if asked == "flash" and (reason := flash.unavailable()):
        raise UserError(f"resources.attention: {reason}; use auto")
    name, why = _chosen(resources.layout, caps) if asked == "auto" else (asked, "as asked")
    log.info("attention: %s (%s)%s", name, why, ", scores soft-capped" if caps else "")
    own = {"segments": attention, "flex": flex, "flash": flash}
    if name not in own:
        return name
    own[name].register()
    return str(own[name].NAME)


def _chosen(layout: str, caps: bool) -> tuple[str, str]:
    """A name, and why it is the one."""
    if layout != "packed":
        return ("eager", "sdpa cannot soft-cap") if caps else ("sdpa", "rows are padded")
    if not torch.cuda.is_available():
        return "segments", "no GPU: pair by pair"
    if find_spec("triton"):
        return "flex", "FlexAttention, compiled by Triton"
    if reason := flash.unavailable():
        return "segments", f"no Triton for FlexAttention, and {reason}: pair by pair"
    return "flash", "no Triton for FlexAttention"


def _caps_attention(config: Any) -> bool:
    return getattr(config, "attn_logit_softcapping", None) is not None

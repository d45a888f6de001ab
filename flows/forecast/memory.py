"""Memory that a stage takes at its peak, on each GPU (or in each process on a CPU).

By the shapes that a model's config.json gives (contracts.models.architecture, which a test holds
against a model on the `meta` device) and by what each layer keeps for its backward pass;
`benchmarks.plan_memory` compares it with measured peaks. Nothing is loaded.

Sizes in numbers a token: H hidden, I intermediate, Q and K the widths of all query and key heads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from contracts.models.architecture import Sizes, kv_bytes, language_model, sizes

_MIB = 1 << 20
# As `training.packed.head` has them, which imports torch.
_CPU_BLOCK, _GPU_BLOCK = 8 * _MIB, 256 * _MIB
# Numbers that one norm keeps a token: what it normed, and what its weight was multiplied with.
_GEMMA2_NORMS, _NORMS = 4, 2
# [samples, vocabulary] float32 that one draw holds: logits, sorted, indices, softmax, sums.
_COPIES_OF_LOGITS = 6
# Bits a weight takes in NF4 with double quantisation (QLoRA, arXiv 2305.14314, section 3).
_NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)

Strategy = Literal["none", "zero2", "zero3", "fsdp"]


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, or in one process, at a stage's peak."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    kv_cache: int = 0
    host: int = 0
    """Bytes of the machine's own memory that all processes beside its GPUs take at most, as they
    load, offload and save; 0 where it is not told."""
    says: str = ""
    """What is to be known beside the figures."""
    room: int | None = None
    """Bytes that it may take; None where that is not known."""

    @property
    def total(self) -> int:
        """All of them, the machine's own left out."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.kv_cache

    @property
    def fits(self) -> bool:
        """Whether it takes no more than it may, as far as is known."""
        return self.room is None or self.total <= self.room


@dataclass(frozen=True)
class Model:
    """A language model, by its config.json."""

    config: Mapping[str, Any]
    of: Sizes
    parameters: int
    """Numbers in all of its tensors."""
    matrix: int
    """Numbers in its largest tensor."""
    layer: int
    """Numbers in one of its layers."""
    linear: int
    """Numbers in the matrices of all layers."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Model | None":
        """None where the family is not known here."""
        of, shapes = sizes(config), language_model(config)
        if of is None or shapes is None:
            return None
        counts = {name: math.prod(shape) for name, shape in shapes.items()}
        layer = sum(count for name, count in counts.items() if ".layers.0." in name)
        linear = sum(
            counts[name] for name, shape in shapes.items() if ".layers." in name and len(shape) == 2
        )
        return cls(config, of, sum(counts.values()), max(counts.values()), layer, linear)


@dataclass(frozen=True)
class Pass:
    """One forward pass of a training or of a scoring."""

    tokens: int
    """All that it holds, prompts included."""
    answers: int
    """Those whose log-probs are wanted."""
    width: int
    """Bytes of a number in the forward pass: 2 in bfloat16, 4 in float32."""
    logits: int
    """Bytes of float32 logits that may exist at once."""
    on_gpu: bool = False


def training(
    model: Model,
    one: Pass,
    *,
    passes: int,
    processes: int = 1,
    strategy: Strategy = "none",
    trained: int | None = None,
    in_4_bits: bool = False,
    checkpointing: bool = False,
    offload: Literal["none", "optimizer", "parameters"] = "none",
) -> Memory:
    """The peak of an optimizer step: all states, and the last layer's backward pass.

    Args:
        passes: forward passes a step; with several, the first one's gradients lie there already.
        trained: numbers that AdamW moves, where those are not all (LoRA).
        in_4_bits: whether the layers' matrices beside those are held in NF4 (QLoRA).
    """
    moved = model.parameters if trained is None else trained
    frozen = 0 if trained is None else _frozen(model, one.width, in_4_bits)
    held, grads, states = _states(frozen, moved, one.width, processes, strategy)
    head = 4 * model.of.vocabulary * model.of.hidden if trained is None else 0
    # Beside full gradients the head's new ones; in the only pass, they are the first.
    beside = head if passes > 1 else 0
    own = _kept(model, one, checkpointing) + _logits(model, one) + beside
    if strategy in ("zero3", "fsdp"):
        # Gathered at once: a layer and the next, and the largest tensor beside them.
        own += one.width * (2 * model.layer + model.matrix)
    if passes == 1:
        # Gradients come as activations go.
        grads = max(grads, own + head) - own if own < grads else head
    # torch's plain AdamW makes two copies of a matrix; its fused kernel, on a GPU, makes none.
    update = 0 if one.on_gpu else 8 * model.matrix // (processes if _splits(strategy) else 1)
    own = max(own, update)
    host = _host(model.parameters, one.width, processes, strategy, trained is not None)
    if in_4_bits:  # quantised on the GPU as they are read, and merged whole at the end
        host = one.width * model.parameters
    if offload != "none":
        states, host = 0, host + processes * states
    if offload == "parameters":
        held, host = 2 * one.width * model.layer, host + processes * held
    return Memory(held, grads, states, own, host=host if one.on_gpu else 0)


def _host(parameters: int, width: int, processes: int, strategy: Strategy, adapted: bool) -> int:
    """Bytes of the machine's memory, the larger of what loading takes and what writing does: the
    policy in its own dtype, beside what rank 0 has gathered for it."""
    loaded = {
        "none": (width if adapted else 4) * processes, "zero2": width * processes,
        # One process has the weights (training.engines.fsdp); ZeRO-3 maps their files.
        "fsdp": width if adapted else 4, "zero3": 0,
    }[strategy]  # fmt: skip
    gathered = loaded if strategy == "fsdp" else 0
    written = gathered + (0 if gathered == width else width)
    return parameters * max(loaded, written)


def shapes_of(model: Model) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors."""
    return language_model(model.config) or {}


def scoring(model: Model, tokens: int, width: int) -> Memory:
    """A batch of a reward model: a backbone, its heads in float32."""
    of = model.of
    head = 0 if of.tied else of.vocabulary * of.hidden
    gate = 1024 * (of.hidden + 2 * 1024)  # ArmoRM's, the largest of the heads
    own = tokens * width * (4 * of.hidden + 3 * of.intermediate)
    return Memory(width * (model.parameters - head) + 4 * gate, activations=own)


def inference(model: Model, one: Pass, processes: int = 1, sharing: int = 1) -> Memory:
    """The peak of a forward pass without gradients, e.g. of the reference.

    Args:
        sharing: processes that share the weights (FSDP): all, or each has its own.
    """
    layer = one.tokens * one.width * (4 * model.of.hidden + 3 * model.of.intermediate)
    block = min(one.logits, _GPU_BLOCK if one.on_gpu else _CPU_BLOCK)
    head = min(4 * one.answers * model.of.vocabulary, 3 * block)  # none is kept
    weights = one.width * model.parameters
    return Memory(
        weights // sharing, activations=max(layer, head),
        # One that is split is loaded by one process.
        host=weights * (processes // sharing) if one.on_gpu else 0,
    )  # fmt: skip


def sampling(model: Model, samples: int, prompt: int, answer: int, width: int) -> Memory:
    """One batch of samples decoded together, in transformers."""
    return Memory(
        width * model.parameters,
        activations=max(
            samples * prompt * width * (4 * model.of.hidden + 3 * model.of.intermediate),
            4 * _COPIES_OF_LOGITS * samples * model.of.vocabulary,
        ),
        kv_cache=samples * (prompt + answer) * kv_bytes(model.of.layers, model.of.keys, width),
    )


def _splits(strategy: Strategy) -> bool:
    return strategy != "none"


def _states(
    frozen: int, moved: int, width: int, processes: int, strategy: Strategy
) -> tuple[int, int, int]:
    """Bytes of the weights, the gradients, and AdamW's averages with its float32 masters.

    Args:
        frozen: bytes of what AdamW does not move: the model beside LoRA's adapters, or nothing.
    """
    if strategy == "none":
        # float32 weights are the masters; autocast holds a copy in bfloat16.
        return frozen + (6 if width == 2 else 4) * moved, 4 * moved, 8 * moved
    if strategy == "fsdp":  # as well, but for the copies: what is gathered is cast
        return (frozen + 4 * moved) // processes, *_split(4, 8, moved, processes)
    # DeepSpeed has masters of its own, under ZeRO-3 in float32 none (stage3.py of 0.19.8).
    masters = 0 if strategy == "zero3" and width == 4 else 4
    held = (frozen + width * moved) // (processes if strategy == "zero3" else 1)
    return held, *_split(4, 8 + masters, moved, processes)


def _frozen(model: Model, width: int, in_4_bits: bool) -> int:
    """Bytes of all weights, at `width` a number or the layers' matrices in NF4."""
    short = model.linear if in_4_bits else 0
    return width * (model.parameters - short) + round(_NF4_BITS / 8 * short)


def _split(gradients: int, states: int, moved: int, processes: int) -> tuple[int, int]:
    return gradients * moved // processes, states * moved // processes


def _kept(model: Model, one: Pass, checkpointing: bool) -> int:
    """Bytes that all layers keep for the backward pass, and the last layer's gradients."""
    of = model.of
    a_layer = _a_token(model, one.width)
    backward = one.width * (3 * of.intermediate + 2 * of.hidden)
    layers = of.layers * a_layer
    if checkpointing:
        layers = of.layers * of.hidden * one.width + a_layer
    states = 2 * one.answers * of.hidden * one.width
    return one.tokens * (layers + backward + 3 * of.hidden * 4) + states


def _a_token(model: Model, width: int) -> int:
    """Bytes that one layer keeps a token."""
    of, family = model.of, model.config["model_type"]
    norms = _GEMMA2_NORMS if family == "gemma2" else _NORMS
    # A norm computes in float32 and hands on in the width of the pass: 2 H and 1 H.
    normed = norms * 2 * of.hidden * 4
    handed_on = 2 * of.hidden * width
    attention = (2 * of.queries + 2 * of.keys) * width
    if family == "qwen3":
        attention += 2 * (of.queries + of.keys) * 4
    return normed + handed_on + attention + 4 * of.intermediate * width


def _logits(model: Model, one: Pass) -> int:
    """Bytes of logits that are kept, and of the block that is worked on."""
    every = 4 * one.answers * model.of.vocabulary
    block = min(one.logits, _GPU_BLOCK if one.on_gpu else _CPU_BLOCK)
    return min(every, one.logits) + min(every, 2 * block)

"""Log-probs of given tokens; the vocabulary's logits are never held whole.

Shapes: tokens = of the responses, hidden = the hidden size, vocab = the vocabulary; below them
T, H, V, and B = a block of V.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from training.packed.precision import autocast_to

# Blocks of float32 logits that stay in a processor's cache, and that fill a GPU.
_CPU_BLOCK_BYTES = 8 << 20
_GPU_BLOCK_BYTES = 256 << 20
# e ** 75 times a vocabulary of 256,000 is still a float32.
_SAFE_EXPONENT = 75.0
# Matrix units work on tiles of the vocabulary; a block that ends inside one wastes the rest.
_TILE = 128


@dataclass(frozen=True)
class _Plan:
    """How the vocabulary is cut up, and how many of its blocks are kept for the backward pass."""

    vocabulary: int
    block: int
    kept: int

    @classmethod
    def of(cls, tokens: int, vocabulary: int, budget: int, device: torch.device) -> "_Plan":
        size = min(budget, _CPU_BLOCK_BYTES if device.type == "cpu" else _GPU_BLOCK_BYTES)
        block = max(1, size // (4 * tokens))
        block = min(vocabulary, block - block % _TILE if block > _TILE else block)
        # One block is being worked on beside those that are kept.
        return cls(vocabulary, block, max(0, budget // (4 * tokens * block) - 1))

    def blocks(self) -> Iterator[tuple[int, slice]]:
        for number, start in enumerate(range(0, self.vocabulary, self.block)):
            yield number, slice(start, min(start + self.block, self.vocabulary))


class _TargetLogprobs(torch.autograd.Function):
    """log softmax(softcap(hidden @ weight.T))[target], a block of the vocabulary at a time.

    The backward pass makes each block's logits again, except for those that fit the budget. At
    a vocabulary of 256,000 one token's float32 logits are 1 MB (recipe, section 6); kept, they
    are most of a step's memory. Blocks of the vocabulary, not of tokens: each block's weight
    gradient is then one product over all tokens, and nothing is summed in low precision.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        softcap: float | None,
        budget: int,
        backward: bool,
        collisions: bool,
    ) -> tuple[Tensor, Tensor | None]:
        plan = _Plan.of(len(targets), len(weight), budget, hidden.device)
        kept = []
        normalizer = targets.new_full((len(targets),), -torch.inf, dtype=_wide(hidden.dtype))
        chosen = torch.zeros_like(normalizer)
        squares = normalizer.clone() if collisions else None
        for number, part in plan.blocks():
            raw = _raw(hidden, weight[part], softcap)
            inside, column = _columns(targets, part)
            value = raw.gather(1, column).squeeze(1)
            chosen = torch.where(inside, value, chosen)
            normalizer = torch.logaddexp(normalizer, _log_sum(raw, softcap))
            if squares is not None:
                squares = torch.logaddexp(squares, _log_sum(raw, softcap, power=2))
            if backward and number < plan.kept:
                kept.append(raw)
        ctx.save_for_backward(hidden, weight, targets, normalizer, *kept)
        ctx.softcap, ctx.plan = softcap, plan
        if squares is not None:
            squares -= 2 * normalizer
            ctx.mark_non_differentiable(squares)
        return (chosen if softcap is None else chosen * softcap) - normalizer, squares

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, _ = gradients
        hidden, weight, targets, normalizer, *kept = ctx.saved_tensors
        # d logprob / d logit = onehot - p. Its rows are scaled by -gradient at the far ends of
        # both products, [T, H], not here, [T, B].
        scaled = hidden * -gradient[:, None].to(hidden.dtype)
        hidden_grad = torch.zeros_like(hidden, dtype=normalizer.dtype)
        # A frozen head, as under LoRA, is spared its gradient.
        weight_grad = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for number, part in ctx.plan.blocks():
            block = weight[part]
            raw = kept[number] if number < len(kept) else _raw(hidden, block, ctx.softcap)
            slope = torch.sub(raw, normalizer[:, None]) if ctx.softcap is None else (
                torch.add(-normalizer[:, None], raw, alpha=ctx.softcap))  # fmt: skip
            inside, column = _columns(targets, part)
            slope.exp_().scatter_add_(1, column, -inside[:, None].to(slope.dtype))
            if ctx.softcap is not None:
                # d (c * tanh(x / c)) / dx = 1 - tanh(x / c) ** 2
                slope = torch.ops.aten.tanh_backward(slope, raw)
            slope = slope.to(weight.dtype)
            if hidden_grad.dtype == slope.dtype:
                hidden_grad.addmm_(slope, block)
            else:
                hidden_grad += slope @ block
            if weight_grad is not None:
                torch.mm(slope.T, scaled, out=weight_grad[part])
        hidden_grad.mul_(-gradient[:, None])
        return hidden_grad.to(hidden.dtype), weight_grad, None, None, None, None, None


def target_logprobs(
    hidden: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, "tokens"],
    softcap: float | None,
    budget: int,
) -> Float[Tensor, "tokens"]:
    """Log-prob of each target, float32 (float64 for float64 input).

    Args:
        hidden: states at the positions that predict the targets.
        weight: of the output head.
        targets: int64 token ids.
        softcap: the model's `final_logit_softcapping`, or none.
        budget: bytes of float32 logits that may exist at once.
    """
    backward = torch.is_grad_enabled()
    return _TargetLogprobs.apply(hidden, weight, targets, softcap, budget, backward, False)[0]


def with_collisions(
    hidden: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, "tokens"],
    softcap: float | None,
    budget: int,
) -> Float[Tensor, "2 tokens"]:
    """`target_logprobs`, and for each log sum_v p(v) ** 2 over the vocabulary, without gradient:
    of two tokens drawn there, the log-prob that they are the same."""
    backward = torch.is_grad_enabled()
    return torch.stack(
        _TargetLogprobs.apply(hidden, weight, targets, softcap, budget, backward, True)
    )


def _raw(hidden: Tensor, block: Tensor, softcap: float | None) -> Tensor:
    """[T, B] logits, or tanh(logits / softcap), at least float32 and never rounded to less: a
    logit of 20 in bfloat16 is off by up to 0.06, and so is the log-prob of a target."""
    logits = _product(hidden, block)
    return logits if softcap is None else logits.div_(softcap).tanh_()


def _product(hidden: Tensor, block: Tensor) -> Tensor:
    """[T, B] hidden @ block.T, at least float32 whatever the factors are."""
    if hidden.dtype == _wide(hidden.dtype):
        return functional.linear(hidden, block)
    if hidden.is_cuda:
        # Its matrix units sum in float32 anyway: this only leaves the last rounding out.
        return torch.mm(hidden, block.T, out_dtype=torch.float32)
    return functional.linear(hidden.float(), block.float())


def _log_sum(raw: Tensor, softcap: float | None, power: int = 1) -> Tensor:
    """[T] log of the sum of a block's exponentials of logits, each to a power."""
    if softcap is None:
        return (raw if power == 1 else raw * power).logsumexp(dim=-1)
    largest = softcap * power
    if largest > _SAFE_EXPONENT:
        return (raw * largest).logsumexp(dim=-1)
    # Capped logits cannot overflow: no pass for their largest.
    return (raw * largest).exp_().sum(dim=-1).log_()


def _columns(targets: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """[T] whether each target lies in a block, and [T, 1] its column there (or any other)."""
    column = targets - part.start
    inside = (column >= 0) & (targets < part.stop)
    return inside, column.clamp(0, part.stop - part.start - 1)[:, None]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class ResponseHead(nn.Linear):
    """A model's output head that, given targets, returns their log-probs.

    It takes the place of `lm_head`, so that the weight is used inside its own module's forward:
    there ZeRO-3 has it gathered, tied to the embedding or not.
    """

    def __init__(self, head: nn.Linear, softcap: float | None, logits_bytes: int) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight = head.weight
        self.softcap = softcap
        self.logits_bytes = logits_bytes

    def forward(
        self,
        input: Float[Tensor, "*tokens hidden"],
        targets: Int[Tensor, "tokens"] | None = None,
        collisions: bool = False,
    ) -> Float[Tensor, "*tokens vocab"] | Float[Tensor, "tokens"] | Float[Tensor, "2 tokens"]:
        """Logits of states; with targets their log-probs, or those `with_collisions`."""
        if targets is None:
            return super().forward(input)
        states, weight = autocast_to(input), autocast_to(self.weight)
        with torch.autocast(input.device.type, enabled=False):  # float32 logits stay float32
            score = with_collisions if collisions else target_logprobs
            return score(states, weight, targets, self.softcap, self.logits_bytes)

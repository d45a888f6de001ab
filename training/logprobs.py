"""Log-probs of response tokens; the vocabulary's logits are never held whole.

Shape legend: T = response tokens, H = hidden size, V = vocabulary, R, L, S as in packing.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from training.losses import PairLogprobs, ResponseLogprobs
from training.packing import Batch, additive, attention_allowed


class _TargetLogprobs(torch.autograd.Function):
    """log softmax(softcap(hidden @ weight.T))[target], a chunk of rows at a time.

    The backward pass makes each chunk's logits again. At a vocabulary of 256,000 one token's
    float32 logits are 1 MB (recipe, section 6); kept, they are most of a step's memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        softcap: float | None,
        chunk: int,
    ) -> torch.Tensor:
        normalizers = []
        logprobs = []
        for part in _chunks(len(targets), chunk):
            logits = _logits(hidden[part], weight, softcap)
            normalizers.append(logits.logsumexp(dim=-1))
            chosen = logits.gather(1, targets[part, None]).squeeze(1)
            logprobs.append(chosen - normalizers[-1])
        ctx.save_for_backward(hidden, weight, targets, torch.cat(normalizers))
        ctx.softcap, ctx.chunk = softcap, chunk
        return torch.cat(logprobs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        hidden, weight, targets, normalizers = ctx.saved_tensors
        hidden_grad = torch.empty_like(hidden)
        # In float32: summed in bfloat16, the chunks' gradients would lose their small parts.
        weight_grad = torch.zeros_like(weight, dtype=normalizers.dtype)
        for part in _chunks(len(targets), ctx.chunk):
            logits = _logits(hidden[part], weight, ctx.softcap)
            slope = (logits - normalizers[part, None]).exp_().neg_()
            slope.scatter_add_(1, targets[part, None], torch.ones_like(slope[:, :1]))
            slope.mul_(gradient[part, None])
            if ctx.softcap is not None:
                # d (c * tanh(x / c)) / dx = 1 - tanh(x / c) ** 2
                slope.mul_(logits.div_(ctx.softcap).square_().neg_().add_(1))
            slope = slope.to(weight.dtype)
            torch.mm(slope, weight, out=hidden_grad[part])
            if weight_grad.dtype == weight.dtype:
                weight_grad.addmm_(slope.T, hidden[part])
            else:
                weight_grad += slope.T @ hidden[part]
        return hidden_grad, weight_grad.to(weight.dtype), None, None, None


def target_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    chunk: int,
) -> torch.Tensor:
    """[T] log-prob of each target, float32 (float64 for float64 input).

    Args:
        hidden: [T, H] states at the positions that predict the targets.
        weight: [V, H] of the output head.
        targets: [T] int64 token ids.
        softcap: the model's `final_logit_softcapping`, or none.
        chunk: rows whose logits exist at once.
    """
    return _TargetLogprobs.apply(hidden, weight, targets, softcap, chunk)


def _logits(hidden: torch.Tensor, weight: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """[T, V], at least float32: a log-softmax in bfloat16 is off by 0.01 nats a token."""
    logits = functional.linear(hidden, weight)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if softcap is None else logits.div(softcap).tanh_().mul_(softcap)


def _chunks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


class ResponseHead(nn.Linear):
    """A model's output head that, given targets, returns their log-probs.

    It takes the place of `lm_head`, so that the weight is used inside its own module's forward:
    there ZeRO-3 has it gathered, tied to the embedding or not.
    """

    def __init__(self, head: nn.Linear, softcap: float | None, logits_bytes: int) -> None:
        super().__init__(head.in_features, head.out_features, bias=False, device="meta")
        self.weight = head.weight
        self.softcap = softcap
        self.chunk = max(1, logits_bytes // (4 * head.out_features))

    def forward(self, input: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """[..., V] logits of [..., H] states; with targets [T] their [T] log-probs."""
        if targets is None:
            return super().forward(input)
        weight = self.weight
        if torch.is_autocast_enabled(input.device.type):
            # Autocast ends before the backward pass, which would then multiply in float32.
            dtype = torch.get_autocast_dtype(input.device.type)
            input, weight = input.to(dtype), weight.to(dtype)
        return target_logprobs(input, weight, targets, self.softcap, self.chunk)


class PairScorer(nn.Module):
    """A policy whose forward turns a batch of pairs into their responses' log-probs."""

    def __init__(self, policy: Any, logits_bytes: int) -> None:
        super().__init__()
        self.policy = policy
        self.config = policy.config
        softcap = getattr(policy.config, "final_logit_softcapping", None)
        policy.lm_head = ResponseHead(policy.lm_head, softcap, logits_bytes)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """[S] summed log-prob of each response, float32, and [S] its number of tokens.

        A plain tuple: ZeRO-3 hangs its hooks on tensors that it can find.
        """
        hidden = self.policy.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=self._mask(batch),
            use_cache=False,
        ).last_hidden_state
        states = hidden.flatten(0, 1)[batch.predictors]
        logprobs = self.policy.lm_head(states, batch.targets)
        total = logprobs.new_zeros(batch.size).index_add(0, batch.responses, logprobs)
        return total, torch.bincount(batch.responses, minlength=batch.size).to(total.dtype)

    def _mask(self, batch: Batch) -> torch.Tensor | dict[str, torch.Tensor]:
        """Additive masks; one a kind of layer where the sliding window matters at all."""
        dtype = self.policy.get_input_embeddings().weight.dtype
        full = additive(attention_allowed(batch), dtype)
        window = sliding_window(self.config)
        if window is None or batch.positions <= window:
            return full
        sliding = additive(attention_allowed(batch, window), dtype)
        if "full_attention" in (getattr(self.config, "layer_types", None) or ()):
            return {"full_attention": full, "sliding_attention": sliding}
        return sliding


def as_pairs(total: torch.Tensor, tokens: torch.Tensor) -> PairLogprobs:
    """A PairScorer's [S] output, by pair: every chosen response comes before every rejected."""
    (chosen, rejected), (n_chosen, n_rejected) = total.chunk(2), tokens.chunk(2)
    return PairLogprobs(ResponseLogprobs(chosen, n_chosen), ResponseLogprobs(rejected, n_rejected))


def sliding_window(config: Any) -> int | None:
    """A model's window in tokens, none where it has none or does not use it (Qwen2's switch)."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)

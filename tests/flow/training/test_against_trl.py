"""The losses beside TRL's own code, fed with the same log-probs."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.losses.base import Divergence, PairLogprobs, ResponseLogprobs, pair_losses
from training.losses.reference_free.alphapo import AlphaPOConfig
from training.losses.reference_free.cpo import CPOConfig
from training.losses.reference_free.orpo import ORPOConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.with_reference.dpo import DPOConfig
from training.losses.with_reference.dpo_norm import DPONormConfig
from training.losses.with_reference.ipo import IPOConfig
from training.losses.with_reference.kto import KTOConfig
from training.losses.with_reference.ld_dpo import LDDPOConfig
from training.losses.wpo import weighted

pytestmark = pytest.mark.engine

N, LONGEST = 6, 9


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture
def tokens() -> torch.Tensor:
    """[2 N, LONGEST] float32 token log-probs; zero beyond each response's end."""
    generator = torch.Generator().manual_seed(3)
    values = -3 * torch.rand(2 * N, LONGEST, generator=generator)
    return values * mask()


def mask() -> torch.Tensor:
    lengths = torch.tensor([(5 * row) % LONGEST + 1 for row in range(2 * N)])
    return torch.arange(LONGEST) < lengths[:, None]


def as_logprobs(values: torch.Tensor, collisions: torch.Tensor | None = None) -> PairLogprobs:
    """
    Args:
        collisions: as `values`, of each token.
    """
    total, count = values.sum(1), mask().sum(1).to(values.dtype)
    shared = (values * mask() * mask().roll(N, 0)).sum(1)
    collided = torch.zeros_like(total) if collisions is None else (collisions * mask()).sum(1)
    sides = zip(*(value.chunk(2) for value in (total, count, shared, collided)), strict=True)
    return PairLogprobs(*(ResponseLogprobs(*side) for side in sides))


@pytest.mark.parametrize(("ours", "theirs"), [
    (SimPOConfig(beta=2.5, gamma_beta_ratio=0.4, label_smoothing=0.1),
     {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 1.0, "label_smoothing": 0.1}),
    (SimPOConfig(beta=2.0, gamma_beta_ratio=0.0, variant="hinge"),
     {"loss_type": "hinge", "beta": 2.0}),
    (AlphaPOConfig(alpha=0.25, beta=2.5, gamma_beta_ratio=0.4, label_smoothing=0.1),
     {"loss_type": "simpo", "alpha": 0.25, "beta": 2.5, "simpo_gamma": 1.0,
      "label_smoothing": 0.1}),
    (AlphaPOConfig(alpha=-0.3, beta=2.5, gamma_beta_ratio=0.0),
     {"loss_type": "simpo", "alpha": -0.3, "beta": 2.5}),
    (CPOConfig(beta=0.2, nll_weight=0.0, label_smoothing=0.2),
     {"loss_type": "sigmoid", "beta": 0.2, "label_smoothing": 0.2}),
], ids=["simpo", "hinge", "alphapo", "alphapo below zero", "cpo"])  # fmt: skip
def test_simpo_and_cpo_equal_trls(tokens: torch.Tensor, ours: Any, theirs: dict[str, Any]) -> None:
    from trl.experimental.cpo import CPOTrainer

    settings = SimpleNamespace(**{
        "alpha": 0.0, "label_smoothing": 0.0, "simpo_gamma": 0.0,
        "accelerator": SimpleNamespace(device="cpu"), **theirs,
    })  # fmt: skip
    policy = as_logprobs(tokens)
    sides = policy.chosen, policy.rejected
    seen = [side.total if isinstance(ours, CPOConfig) else side.mean for side in sides]
    loss, chosen, rejected = CPOTrainer.cpo_loss(settings, *seen)
    result = pair_losses(ours, policy)
    torch.testing.assert_close(result.loss, loss)
    torch.testing.assert_close(result.chosen_rewards, chosen)
    torch.testing.assert_close(result.rejected_rewards, rejected)


def test_orpo_equals_trls(tokens: torch.Tensor) -> None:
    from trl.experimental.orpo import ORPOTrainer

    settings = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    policy = as_logprobs(tokens)
    gain, chosen, *_ = ORPOTrainer.odds_ratio_loss(
        settings, policy.chosen.mean, policy.rejected.mean
    )
    result = pair_losses(ORPOConfig(weight=0.3), policy)
    torch.testing.assert_close(result.loss, -policy.chosen.mean - gain)
    torch.testing.assert_close(result.chosen_rewards, chosen)


class Scored(torch.nn.Module):
    """Gives TRL's loss code the token log-probs that it asks its model for."""

    def __init__(self, tokens: torch.Tensor, collisions: torch.Tensor | None = None) -> None:
        super().__init__()
        self.tokens, self.collisions = tokens, collisions

    def forward(self, **_: Any) -> Any:
        zeros = torch.zeros_like(self.tokens)
        return SimpleNamespace(
            log_probs=self.tokens,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
            log_sum_sq_probs=self.collisions,
        )


def trl_self(model: Scored, **settings: Any) -> Any:
    same = lambda value: value  # noqa: E731
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=same, gather=same)
    return SimpleNamespace(**{
        "model": model, "accelerator": accelerator, "aux_loss_enabled": False,
        "precompute_ref_logps": True, "label_smoothing": 0.0, "use_weighting": False,
        "_total_train_tokens": 0, "_tp_size": 1, "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "_metrics": defaultdict(lambda: defaultdict(list)), "args": SimpleNamespace(), **settings,
    })  # fmt: skip


def with_prompt(values: torch.Tensor) -> torch.Tensor:
    """[.., LONGEST + 1]: one token of prompt before each response."""
    return torch.cat([torch.zeros_like(values[:, :1]), values], 1)


def dpo_inputs(reference: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = with_prompt(mask().long())
    return {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": ids,
        "ref_chosen_logps": reference[0], "ref_rejected_logps": reference[1],
    }  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), [
    (DPOConfig(beta=0.3), {"loss_types": ["sigmoid"], "beta": 0.3}),
    (DPONormConfig(beta=3.0), {"loss_types": ["sigmoid_norm"], "beta": 3.0}),
    (IPOConfig(tau=0.4), {"loss_types": ["ipo"], "beta": 0.4}),
], ids=["dpo", "dpo_norm", "ipo"])  # fmt: skip
@pytest.mark.parametrize("weighting", [False, True], ids=["", "wpo"])
def test_dpo_and_its_kin_equal_trls(
    tokens: torch.Tensor, ours: Any, theirs: dict[str, Any], weighting: bool
) -> None:
    from trl import DPOTrainer

    ratio, collisions = as_logprobs(tokens * 1.1), tokens.roll(1, 0) - 0.1
    policy = as_logprobs(tokens, collisions)
    model = Scored(tokens, collisions)
    settings = trl_self(model, loss_weights=[1.0], **theirs, use_weighting=weighting)
    inputs = dpo_inputs((ratio.chosen.total, ratio.rejected.total))
    loss = DPOTrainer._compute_loss(settings, model, inputs, return_outputs=False)
    result = pair_losses(ours, policy, ratio)
    result = weighted(result, policy) if weighting else result
    torch.testing.assert_close(result.loss.mean(), loss)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ld_dpo_equals_trls(tokens: torch.Tensor, alpha: float) -> None:
    from trl import DPOTrainer

    reference = tokens * 1.1
    weight = torch.where(mask() & mask().roll(N, 0), 1.0, alpha)
    model = Scored(tokens)
    settings = trl_self(model, loss_weights=[1.0], loss_types=["sigmoid"], beta=0.3, ld_alpha=alpha)
    inputs = dpo_inputs((reference * weight).sum(1).chunk(2))
    loss = DPOTrainer._compute_loss(settings, model, inputs, return_outputs=False)
    ours = LDDPOConfig(beta=0.3, alpha=alpha)
    result = pair_losses(ours, as_logprobs(tokens), as_logprobs(reference))
    torch.testing.assert_close(result.loss.mean(), loss)


def test_kto_equals_trls_at_a_given_divergence(tokens: torch.Tensor) -> None:
    from trl import KTOTrainer

    reference = as_logprobs(tokens * 1.1)
    ids = with_prompt(mask().long())
    divergence = torch.tensor(0.7)
    inputs = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids),
        "completion_mask": with_prompt(mask().long()),
        "label": torch.arange(2 * N) < N,
        "ref_logps": torch.cat([reference.chosen.total, reference.rejected.total]),
        "ref_KL_logps": torch.zeros(2 * N),
    }  # fmt: skip
    model = Scored(tokens)
    settings = trl_self(
        model, beta=0.3, loss_type="kto", calculate_KL=True, desirable_weight=1.2,
        undesirable_weight=0.8, calculate_kl=True,
        _compute_kl_logps=lambda *_: torch.full((2 * N,), 0.7),
    )  # fmt: skip
    loss = KTOTrainer._compute_loss(settings, model, inputs, return_outputs=False)
    ours = KTOConfig(beta=0.3, chosen_weight=1.2, rejected_weight=0.8)
    result = pair_losses(ours, as_logprobs(tokens), reference, Divergence(divergence, divergence))
    torch.testing.assert_close(result.loss.mean(), loss)

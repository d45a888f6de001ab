"""Losses against numbers worked by hand, and their gradients in float64."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tiny_logprobs import POLICY, REFERENCE, logprobs, softplus, value

from training.losses.base import (
    Divergence,
    PairLogprobs,
    ResponseLogprobs,
    pair_losses,
)
from training.losses.config import LossConfig
from training.losses.reference_free.alphapo import AlphaPOConfig
from training.losses.reference_free.cpo import CPOConfig
from training.losses.reference_free.orpo import ORPOConfig
from training.losses.reference_free.rrhf import RRHFConfig
from training.losses.reference_free.sft import SFTConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.reference_free.slic_hf import SLiCConfig
from training.losses.with_reference.dpo import DPOConfig
from training.losses.with_reference.dpo_norm import DPONormConfig
from training.losses.with_reference.ipo import IPOConfig
from training.losses.with_reference.kto import KTOConfig
from training.losses.with_reference.ld_dpo import LDDPOConfig
from training.losses.with_reference.r_dpo import RDPOConfig

METHODS: list[Any] = [
    SimPOConfig(),
    SimPOConfig(beta=2.0, label_smoothing=0.1, sft_weight=0.3),
    SimPOConfig(beta=0.3, variant="hinge"),
    AlphaPOConfig(),
    AlphaPOConfig(alpha=-0.5, beta=10.0, label_smoothing=0.1),
    DPONormConfig(label_smoothing=0.1, sft_weight=0.2),
    LDDPOConfig(alpha=0.3),
    DPOConfig(beta=0.3, label_smoothing=0.2, sft_weight=0.1),
    IPOConfig(),
    IPOConfig(length_normalized=False),
    CPOConfig(label_smoothing=0.1),
    KTOConfig(chosen_weight=1.3),
    ORPOConfig(),
    RDPOConfig(beta=0.2),
    RRHFConfig(),
    SLiCConfig(),
    SFTConfig(),
]


def test_the_margin_is_beta_times_the_ratio_and_is_subtracted_once() -> None:
    # beta 10, ratio 0.5: z = 10 * (-1 - -1.2) - 5 = -3
    result = pair_losses(SimPOConfig(), logprobs([-1.0], [-1.2]))
    assert value(result) == pytest.approx(softplus(3))


def test_rewards_are_beta_times_the_mean_log_prob() -> None:
    result = pair_losses(SimPOConfig(beta=2.0), logprobs([-1.0], [-1.5], tokens=7))
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == (-2.0, -3.0)


def test_hinge_is_flat_once_the_margin_is_won() -> None:
    config = SimPOConfig(beta=2.0, gamma_beta_ratio=0.5, variant="hinge")
    # z = 2 * 0.2 - 1 = -0.6 and 2 * 3 - 1 = 5
    loss = pair_losses(config, logprobs([-1.0, -1.0], [-1.2, -4.0])).loss
    assert loss.tolist() == pytest.approx([1.6, 0.0])


def test_label_smoothing_mixes_in_the_opposite_label() -> None:
    config = SimPOConfig(beta=1.0, gamma_beta_ratio=0.0, label_smoothing=0.25)
    loss = value(pair_losses(config, logprobs([-1.0], [-2.0])))
    assert loss == pytest.approx(0.75 * softplus(-1) + 0.25 * softplus(1))


def test_the_sft_term_adds_the_chosen_negative_mean_log_prob() -> None:
    plain, weighted = (
        value(pair_losses(SimPOConfig(sft_weight=weight), logprobs([-1.5], [-1.0])))
        for weight in (0.0, 0.4)
    )
    assert weighted - plain == pytest.approx(0.4 * 1.5)


def test_dpo_scales_the_difference_of_the_log_ratios() -> None:
    result = pair_losses(DPOConfig(beta=0.2), POLICY, REFERENCE)
    assert value(result) == pytest.approx(softplus(-0.3))  # 0.2 * (1 - -0.5)
    assert result.chosen_rewards.item() == pytest.approx(0.2)
    assert result.rejected_rewards.item() == pytest.approx(-0.1)


def test_dpo_may_smooth_labels_and_add_the_chosen_likelihood() -> None:
    config = DPOConfig(beta=0.2, label_smoothing=0.1, sft_weight=0.5)
    expected = 0.9 * softplus(-0.3) + 0.1 * softplus(0.3) + 0.5 * 2
    assert value(pair_losses(config, POLICY, REFERENCE)) == pytest.approx(expected)


def test_ipo_aims_at_a_margin_of_half_over_tau_a_token_or_summed() -> None:
    by_token = pair_losses(IPOConfig(tau=0.5), POLICY, REFERENCE)
    assert value(by_token) == pytest.approx((1 / 3 + 1 / 4 - 1) ** 2)
    summed = pair_losses(IPOConfig(tau=0.5, length_normalized=False), POLICY, REFERENCE)
    assert value(summed) == pytest.approx((1.5 - 1) ** 2)


def test_cpo_compares_summed_log_probs_and_adds_the_likelihood() -> None:
    assert value(pair_losses(CPOConfig(beta=0.1, nll_weight=0), POLICY)) == pytest.approx(
        softplus(-0.2)
    )
    assert value(pair_losses(CPOConfig(beta=0.1), POLICY)) == pytest.approx(softplus(-0.2) + 2)


def test_kto_judges_each_response_by_the_other_halfs_divergence() -> None:
    divergence = Divergence(torch.tensor(0.5), torch.tensor(0.25))
    config = KTOConfig(beta=0.4, chosen_weight=1.5, rejected_weight=0.5)
    result = pair_losses(config, POLICY, REFERENCE, divergence)
    desirable = 1.5 * (1 - 1 / (1 + math.exp(-0.4 * (1 - 0.25))))
    undesirable = 0.5 * (1 - 1 / (1 + math.exp(-0.4 * (0.5 - -0.5))))
    assert value(result) == pytest.approx((desirable + undesirable) / 2)


def test_orpo_adds_the_odds_ratio_to_the_likelihood() -> None:
    def odds(mean: float) -> float:
        return math.exp(mean) / (1 - math.exp(mean))

    ratio = math.log(odds(-2) / odds(-4))
    assert value(pair_losses(ORPOConfig(weight=0.3), POLICY)) == pytest.approx(
        2 + 0.3 * softplus(-ratio)
    )


def test_orpo_stays_finite_for_likely_and_for_unlikely_responses() -> None:
    likely = logprobs([-1e-7, -300.0], [-1e-6, -1e-7])
    totals = likely.chosen.total.requires_grad_()
    loss = pair_losses(ORPOConfig(), likely).loss
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(totals.grad).all()


MEANS = st.floats(-1e4, 2**-22, width=32)  # sums of rounded logits may end above 0


@pytest.mark.parametrize("config", METHODS, ids=lambda config: repr(config))
@given(chosen=MEANS, rejected=MEANS)
@example(chosen=0.0, rejected=0.0)
@example(chosen=0.0, rejected=-1.0)
@example(chosen=-1.0, rejected=0.0)
@example(chosen=2**-22, rejected=2**-22)
def test_no_log_prob_makes_a_loss_or_its_gradient_infinite(
    config: Any, chosen: float, rejected: float
) -> None:
    totals = [torch.tensor([mean], requires_grad=True) for mean in (chosen, rejected)]
    policy = PairLogprobs(*(ResponseLogprobs(total, torch.ones(1), total) for total in totals))
    zero = ResponseLogprobs(torch.zeros(1), torch.ones(1), torch.zeros(1))
    divergence = Divergence(torch.tensor(0.3), torch.tensor(0.1))
    loss = pair_losses(config, policy, PairLogprobs(zero, zero), divergence).loss
    loss.backward()
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(total.grad).all() for total in totals if total.grad is not None)


def test_r_dpo_counts_a_longer_chosen_response_as_partly_won() -> None:
    result = pair_losses(RDPOConfig(beta=0.2, alpha=0.05), POLICY, REFERENCE)
    assert value(result) == pytest.approx(softplus(-(0.3 + 0.05 * (3 - 2))))


def test_rrhf_is_zero_beside_its_likelihood_once_the_order_is_right() -> None:
    assert value(pair_losses(RRHFConfig(sft_weight=0), POLICY)) == 0
    swapped = PairLogprobs(POLICY.rejected, POLICY.chosen)
    assert value(pair_losses(RRHFConfig(sft_weight=0.5), swapped)) == pytest.approx(2 + 0.5 * 8)


def test_slic_hf_wants_its_margin_between_summed_log_probs() -> None:
    assert value(pair_losses(SLiCConfig(delta=3.0, sft_weight=0.1), POLICY)) == pytest.approx(
        (3 - 2) + 0.1 * 6
    )


def test_sft_is_the_chosen_responses_mean_negative_log_prob() -> None:
    assert value(pair_losses(SFTConfig(), POLICY)) == 2


def half_shared(total: torch.Tensor, tokens: torch.Tensor) -> ResponseLogprobs:
    return ResponseLogprobs(total, tokens, total / 2)


@pytest.mark.parametrize("config", METHODS, ids=lambda config: repr(config))
def test_gradients_agree_with_finite_differences(config: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    totals = [-4 * torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(4)]
    tokens = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)
    reference = PairLogprobs(*(half_shared(total, tokens) for total in totals[2:]))
    divergence = Divergence(torch.tensor(0.3), torch.tensor(0.1))

    def loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        policy = PairLogprobs(half_shared(chosen, tokens), half_shared(rejected, tokens))
        return pair_losses(config, policy, reference, divergence).loss

    assert torch.autograd.gradcheck(loss, [total.requires_grad_() for total in totals[:2]])


@pytest.mark.parametrize("kind", ["dpo", "dpo_norm", "ld-dpo", "ipo", "r-dpo", "kto"])
def test_a_method_that_compares_refuses_to_run_without_its_reference(kind: str) -> None:
    config = TypeAdapter(LossConfig).validate_python({"kind": kind})
    assert config.needs_reference
    with pytest.raises(ValueError, match=f"loss {kind} compares with a reference"):
        pair_losses(config, POLICY)


def test_a_knob_of_another_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="gamma_beta_ratio"):
        TypeAdapter(LossConfig).validate_python({"kind": "dpo", "gamma_beta_ratio": 0.5})


def test_alphapos_reward_bends_the_mean_log_prob() -> None:
    config = AlphaPOConfig(alpha=0.5, beta=2.0, gamma_beta_ratio=0.25)
    result = pair_losses(config, POLICY)
    chosen, rejected = 2 * (1 - math.exp(1)), 2 * (1 - math.exp(2))  # means -2 and -4
    assert value(result) == pytest.approx(softplus(-2 * (chosen - rejected - 0.25)))
    assert result.chosen_rewards.item() == pytest.approx(2 * chosen)
    flat = pair_losses(AlphaPOConfig(alpha=-0.5, beta=2.0, gamma_beta_ratio=0.0), POLICY)
    assert value(flat) == pytest.approx(softplus(-2 * 2 * (math.exp(-1) - math.exp(-2))))


def test_alphapo_near_zero_is_simpo_and_at_zero_is_refused() -> None:
    near = pair_losses(AlphaPOConfig(alpha=1e-9, beta=2.0, gamma_beta_ratio=0.3), POLICY)
    simpo = pair_losses(SimPOConfig(beta=2.0, gamma_beta_ratio=0.3), POLICY)
    assert value(near) == pytest.approx(value(simpo))
    with pytest.raises(ValidationError, match="alpha 0 is SimPO: use loss `simpo`"):
        AlphaPOConfig(alpha=0.0)


def test_length_normalised_dpo_compares_log_ratios_a_token() -> None:
    result = pair_losses(DPONormConfig(beta=6.0, sft_weight=0.5), POLICY, REFERENCE)
    assert value(result) == pytest.approx(softplus(-6 * (1 / 3 + 1 / 4)) + 0.5 * 2)
    assert result.rejected_rewards.item() == pytest.approx(-6 / 4)


# The chosen response is longer by its last token, at -3 under the policy and -4 before.
SHARED = PairLogprobs(
    replace(POLICY.chosen, shared=POLICY.chosen.total + 3),
    replace(POLICY.rejected, shared=POLICY.rejected.total),
)
SHARED_REFERENCE = PairLogprobs(
    replace(REFERENCE.chosen, shared=REFERENCE.chosen.total + 4),
    replace(REFERENCE.rejected, shared=REFERENCE.rejected.total),
)


def test_ld_dpo_counts_the_longer_responses_last_tokens_for_less() -> None:
    # Log-ratios: the first two tokens -3 - -3 = 0, the third 1; rejected -0.5.
    for alpha, chosen in ((1.0, 1.0), (0.25, 0.25), (0.0, 0.0)):
        config = LDDPOConfig(beta=0.2, alpha=alpha)
        result = pair_losses(config, SHARED, SHARED_REFERENCE)
        assert value(result) == pytest.approx(softplus(-0.2 * (chosen + 0.5)))
        assert result.chosen_rewards.item() == pytest.approx(0.2 * chosen)
    plain = pair_losses(DPOConfig(beta=0.2), POLICY, REFERENCE)
    assert value(plain) == value(pair_losses(LDDPOConfig(beta=0.2, alpha=1.0), SHARED,
                                             SHARED_REFERENCE))  # fmt: skip

"""Preference losses: pure functions of log-probs, one value a pair.

Shape legend: n = pairs. Every tensor is [n], float32 or float64, in nats. Names in formulas:
lp_w, lp_l = summed log-probs of chosen (winner) and rejected (loser) under the policy, ref_w,
ref_l under the reference, |w|, |l| = their tokens, s(x) = sigmoid(x).
Rewards are what TRL and the SimPO trainer log: what the method compares, scaled by its beta.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, relu

from training.losses.config import (
    CPOConfig,
    DPOConfig,
    IPOConfig,
    KTOConfig,
    LossConfig,
    ORPOConfig,
    RDPOConfig,
    RRHFConfig,
    SFTConfig,
    SimPOConfig,
    SLiCConfig,
)

# Nats by which a mean log-prob stays below 0 in odds.
_CERTAIN = 1e-6


@dataclass(frozen=True)
class ResponseLogprobs:
    """Log-probs of n responses under one model."""

    total: torch.Tensor
    """[n] sum over the response's tokens."""
    tokens: torch.Tensor
    """[n] number of those tokens, in the dtype of `total`; never 0."""

    @property
    def mean(self) -> torch.Tensor:
        """[n] log-prob a token."""
        return self.total / self.tokens


@dataclass(frozen=True)
class PairLogprobs:
    """What a preference loss sees of n pairs under one model."""

    chosen: ResponseLogprobs
    rejected: ResponseLogprobs


@dataclass(frozen=True)
class Divergence:
    """KTO's estimates of how far the policy is from the reference, over a global batch."""

    chosen: torch.Tensor
    """[] mean of lp_w - ref_w, not below 0."""
    rejected: torch.Tensor
    """[] mean of lp_l - ref_l, not below 0."""


@dataclass(frozen=True)
class PairLosses:
    """The loss of each pair, and the rewards that it implies (without gradient)."""

    loss: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def pair_losses(
    config: LossConfig,
    policy: PairLogprobs,
    reference: PairLogprobs | None = None,
    divergence: Divergence | None = None,
) -> PairLosses:
    """The configured method applied to n pairs.

    Args:
        reference: the same responses under the reference, for `config.needs_reference`.
        divergence: for KTO.
    """
    if not config.needs_reference:
        return _by_policy(config, policy)
    if reference is None:
        raise ValueError(f"loss {config.kind} compares with a reference")
    if isinstance(config, KTOConfig):
        if divergence is None:
            raise ValueError("loss kto needs the batch's divergence")
        return kto(config, policy, reference, divergence)
    return _by_ratios(config, policy, reference)


def _by_policy(config: LossConfig, policy: PairLogprobs) -> PairLosses:
    match config:
        case SimPOConfig():
            return simpo(config, policy)
        case CPOConfig():
            return cpo(config, policy)
        case ORPOConfig():
            return orpo(config, policy)
        case RRHFConfig():
            return rrhf(config, policy)
        case SLiCConfig():
            return slic_hf(config, policy)
        case SFTConfig():
            return sft(policy)
    raise NotImplementedError(config.kind)


def _by_ratios(config: LossConfig, policy: PairLogprobs, reference: PairLogprobs) -> PairLosses:
    match config:
        case DPOConfig():
            return dpo(config, policy, reference)
        case IPOConfig():
            return ipo(config, policy, reference)
        case RDPOConfig():
            return r_dpo(config, policy, reference)
    raise NotImplementedError(config.kind)


def simpo(config: SimPOConfig, policy: PairLogprobs) -> PairLosses:
    """SimPO (Meng et al. 2024, arXiv 2405.14734, equation 6; hinge and smoothing as published
    in princeton-nlp/SimPO, `simpo_loss`; recipe, section 2).

    With m = lp_w / |w| - lp_l / |l| and z = beta * (m - gamma_beta_ratio):

        sigmoid: -(1 - e) * log s(z) - e * log s(-z)     e = label_smoothing
        hinge:   relu(1 - z)

    plus sft_weight * (-lp_w / |w|). The target margin beta * gamma_beta_ratio is subtracted
    from beta * m, so it is beta times the ratio, not beta squared times it.
    The SFT term is a mean over pairs of each pair's mean, where the published one is a mean
    over the tokens of a micro-batch: it may not depend on how pairs are batched.
    """
    margin = policy.chosen.mean - policy.rejected.mean
    z = config.beta * (margin - config.gamma_beta_ratio)
    loss = relu(1 - z) if config.variant == "hinge" else _smoothed(z, config.label_smoothing)
    loss = loss - config.sft_weight * policy.chosen.mean
    return _with_rewards(loss, config.beta, policy.chosen.mean, policy.rejected.mean)


def dpo(config: DPOConfig, policy: PairLogprobs, reference: PairLogprobs) -> PairLosses:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7); with smoothing conservative DPO
    (Mitchell 2023); its SFT term as in Pang et al. 2024 (arXiv 2404.19733).

    With z = beta * ((lp_w - ref_w) - (lp_l - ref_l)):

        -(1 - e) * log s(z) - e * log s(-z) - sft_weight * lp_w / |w|     e = label_smoothing
    """
    chosen, rejected = _ratios(policy, reference)
    loss = _smoothed(config.beta * (chosen - rejected), config.label_smoothing)
    loss = loss - config.sft_weight * policy.chosen.mean
    return _with_rewards(loss, config.beta, chosen, rejected)


def ipo(config: IPOConfig, policy: PairLogprobs, reference: PairLogprobs) -> PairLosses:
    """IPO (Azar et al. 2023, arXiv 2310.12036, equation 17).

        ((lp_w - ref_w) - (lp_l - ref_l) - 1 / (2 * tau)) ** 2

    With `length_normalized` each log-ratio is divided by its response's tokens.
    """
    chosen, rejected = _ratios(policy, reference)
    if config.length_normalized:
        chosen, rejected = chosen / policy.chosen.tokens, rejected / policy.rejected.tokens
    loss = (chosen - rejected - 1 / (2 * config.tau)).square()
    return _with_rewards(loss, config.tau, chosen, rejected)


def cpo(config: CPOConfig, policy: PairLogprobs) -> PairLosses:
    """CPO (Xu et al. 2024, arXiv 2401.08417, equations 3 and 5).

    With z = beta * (lp_w - lp_l):

        -(1 - e) * log s(z) - e * log s(-z) - nll_weight * lp_w / |w|     e = label_smoothing

    The likelihood term is each pair's own mean, where TRL's is a mean over the tokens of a
    micro-batch (prompt included): it may not depend on how pairs are batched.
    """
    z = config.beta * (policy.chosen.total - policy.rejected.total)
    loss = _smoothed(z, config.label_smoothing) - config.nll_weight * policy.chosen.mean
    return _with_rewards(loss, config.beta, policy.chosen.total, policy.rejected.total)


def kto(
    config: KTOConfig, policy: PairLogprobs, reference: PairLogprobs, divergence: Divergence
) -> PairLosses:
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306, equation 8) on pairs.

    With r_w = lp_w - ref_w, r_l = lp_l - ref_l and k_w, k_l their means over the global batch,
    not below 0 and without gradient, the mean over the pair's two responses of

        chosen:   chosen_weight * (1 - s(beta * (r_w - k_l)))
        rejected: rejected_weight * (1 - s(beta * (k_w - r_l)))

    The reference point of one half is estimated from the other half, as in the authors' paired
    variant (HALOs, `kto_pair`), which needs no pass over mismatched prompts.
    """
    chosen, rejected = _ratios(policy, reference)
    desirable = torch.sigmoid(-config.beta * (chosen - divergence.rejected))
    undesirable = torch.sigmoid(-config.beta * (divergence.chosen - rejected))
    loss = (config.chosen_weight * desirable + config.rejected_weight * undesirable) / 2
    return _with_rewards(loss, config.beta, chosen, rejected)


def orpo(config: ORPOConfig, policy: PairLogprobs) -> PairLosses:
    """ORPO (Hong et al. 2024, arXiv 2403.07691, equations 6 and 7).

    With p = exp(lp / tokens) and odds(p) = p / (1 - p):

        -lp_w / |w| - weight * log s(log odds(p_w) - log odds(p_l))

    p counts as at most 1 - 1e-6, log odds of 13.8 (`_log_odds`).
    """
    chosen, rejected = policy.chosen.mean, policy.rejected.mean
    odds_ratio = _log_odds(chosen) - _log_odds(rejected)
    loss = -chosen - config.weight * logsigmoid(odds_ratio)
    return _with_rewards(loss, config.weight, chosen, rejected)


def r_dpo(config: RDPOConfig, policy: PairLogprobs, reference: PairLogprobs) -> PairLosses:
    """R-DPO (Park et al. 2024, arXiv 2403.19159; as in SimPO's table 3).

        -log s(beta * ((lp_w - ref_w) - (lp_l - ref_l)) + alpha * (|w| - |l|))

    A pair whose chosen response is the longer one counts as partly won: it pushes less.
    """
    chosen, rejected = _ratios(policy, reference)
    longer = policy.chosen.tokens - policy.rejected.tokens
    loss = -logsigmoid(config.beta * (chosen - rejected) + config.alpha * longer)
    return _with_rewards(loss, config.beta, chosen, rejected)


def rrhf(config: RRHFConfig, policy: PairLogprobs) -> PairLosses:
    """RRHF (Yuan et al. 2023, arXiv 2304.05302; as in SimPO's table 3).

    relu(lp_l / |l| - lp_w / |w|) - sft_weight * lp_w
    """
    chosen, rejected = policy.chosen.mean, policy.rejected.mean
    loss = relu(rejected - chosen) - config.sft_weight * policy.chosen.total
    return _with_rewards(loss, 1.0, chosen, rejected)


def slic_hf(config: SLiCConfig, policy: PairLogprobs) -> PairLosses:
    """SLiC-HF (Zhao et al. 2023, arXiv 2305.10425, equation 1; as in SimPO's table 3).

    relu(delta - lp_w + lp_l) - sft_weight * lp_w
    """
    chosen, rejected = policy.chosen.total, policy.rejected.total
    loss = relu(config.delta - chosen + rejected) - config.sft_weight * chosen
    return _with_rewards(loss, 1.0, chosen, rejected)


def sft(policy: PairLogprobs) -> PairLosses:
    """Supervised fine-tuning on the chosen responses: -lp_w / |w|.

    The rejected ones' rewards mean nothing where they were not run.
    """
    return _with_rewards(-policy.chosen.mean, 1.0, policy.chosen.mean, policy.rejected.mean)


def _ratios(policy: PairLogprobs, reference: PairLogprobs) -> tuple[torch.Tensor, torch.Tensor]:
    """[n] summed log-ratios of policy over reference, chosen and rejected."""
    return (
        policy.chosen.total - reference.chosen.total,
        policy.rejected.total - reference.rejected.total,
    )


def _smoothed(z: torch.Tensor, smoothing: float) -> torch.Tensor:
    return -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)


def _log_odds(mean: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) for p = exp(mean), finite and with a finite gradient up to p = 1.

    A mean within 1e-6 of 0 counts as -1e-6: there a float32 log-prob is rounding alone (a logit
    of 16 is known to 1e-6), which may even put it above 0, where the log would be NaN.
    """
    mean = mean.clamp(max=-_CERTAIN)
    return mean - _log1mexp(mean)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation at either end."""
    near = torch.log(-torch.expm1(x))
    # The branch that `where` leaves out must have a finite gradient too.
    far = torch.log1p(-torch.exp(torch.clamp(x, max=-0.6)))
    return torch.where(x > -0.6, near, far)


def _with_rewards(
    loss: torch.Tensor, scale: float, chosen: torch.Tensor, rejected: torch.Tensor
) -> PairLosses:
    return PairLosses(loss, scale * chosen.detach(), scale * rejected.detach())

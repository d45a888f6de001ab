"""A tensor of another shape than a signature says fails, in these tests alone."""

import subprocess
import sys

import jaxtyping
import pytest
import torch
from checkout import CHECKOUT
from shapes import WITH_SHAPES

from annotation.armorm.model import Rewards
from training.engines.base import Engine
from training.losses.base import PairLogprobs, ResponseLogprobs, pair_losses
from training.losses.reference_free.simpo import SimPOConfig
from training.packed.head import target_logprobs
from training.packed.logprobs import as_pairs


def of_pairs(count: int) -> ResponseLogprobs:
    return ResponseLogprobs(-torch.rand(count), torch.ones(count))


def test_a_response_has_as_many_log_probs_as_token_counts() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="pairs"):
        ResponseLogprobs(torch.zeros(3), torch.ones(2))


def test_chosen_and_rejected_that_only_broadcasting_would_fit_are_no_pairs() -> None:
    """Without the check three chosen and one rejected response give three losses."""
    with pytest.raises(jaxtyping.TypeCheckError, match="pairs"):
        pair_losses(SimPOConfig(), PairLogprobs(of_pairs(3), of_pairs(1)))


def test_token_ids_that_are_not_integers_are_refused() -> None:
    hidden, weight = torch.randn(3, 4), torch.randn(5, 4)
    assert target_logprobs(hidden, weight, torch.tensor([0, 1, 2]), None, 1 << 20).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError, match="targets"):
        target_logprobs(hidden, weight, torch.tensor([0.0, 1.0, 2.0]), None, 1 << 20)
    with pytest.raises(jaxtyping.TypeCheckError, match="weight"):
        target_logprobs(hidden, weight.T, torch.tensor([0, 1, 2]), None, 1 << 20)


def test_rewards_have_one_score_a_response_and_one_gate_an_objective() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="responses objectives"):
        Rewards(torch.zeros(2), torch.zeros(2, 19), torch.zeros(2, 18))


@pytest.mark.parametrize("checked", [as_pairs, Engine.sum, Rewards.__init__])
def test_every_kind_of_module_that_says_shapes_is_behind_the_hook(checked: object) -> None:
    assert checked.__module__.startswith(tuple(WITH_SHAPES))
    assert hasattr(checked, "__wrapped__")


def test_production_checks_no_shape_and_imports_no_checker() -> None:
    program = (
        "import sys, torch\n"
        "from training.losses.base import ResponseLogprobs\n"
        "ResponseLogprobs(torch.zeros(3), torch.ones(2))\n"
        "sys.exit('shapes' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=False)
    assert ran.returncode == 0

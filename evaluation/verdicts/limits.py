"""What a verdict allows: a limit for each harm."""

from typing import Annotated

from pydantic import Field

from contracts.config.base import Config
from evaluation.win_rates.estimate import FEWEST


class VerdictConfig(Config):
    """What is too much. Each limit is of a harm; none of them makes a policy better."""

    fewest_prompts: Annotated[int, Field(ge=2)] = FEWEST
    """Prompts that a measure needs: one over fewer is missing. Of a policy that did not change, a
    bootstrap of 3 prompts is sure of a loss in 14 %, of 1 in half; of 10 its interval is sound."""

    require_second_reward: bool = True
    """Whether `better` needs the gain of an annotator that was not trained against: gains by the
    trained one alone are what over-optimisation looks like (arXiv 2505.18126)."""
    max_length_growth: Annotated[float, Field(ge=1)] = 1.3
    """Mean length after over before. Published gemma-2-9b-it runs grew by 1.17 (SimPO) and 1.28
    (DPO) on AlpacaEval."""
    max_repetition_growth: Annotated[float, Field(ge=0)] = 0.02
    """Rise of the share of repeated 4-grams; people's text is at 0.006, a language model's
    greedy text at 0.44 (arXiv 1908.04319)."""
    max_refusal_growth: Annotated[float, Field(ge=0)] = 0.02
    """Rise of the share of refusals: 2 in 100, eight standard errors where 0.5 % of 805 refuse."""
    max_gsm8k_drop: Annotated[float, Field(ge=0)] = 2.0
    """Points. One checkpoint evaluated twice moves by about 1 (SimPO#21), and the published runs
    rose by 0.6 and 1.1; 0.9 is a standard error at 1,319 questions."""
    max_mmlu_drop: Annotated[float, Field(ge=0)] = 2.0
    """Points. The published runs fell by 0.5; 0.85 is a standard error at 2,778 questions."""
    max_ifeval_drop: Annotated[float, Field(ge=0)] = 4.0
    """Points: two standard errors at its 541 prompts, of an accuracy of 70 %."""
    max_drift: Annotated[float, Field(ge=0)] = 0.5
    """Nats a token. Of our own choice, to be set from runs that were found good: at 0.5 the policy
    gives each of its tokens 1.65 times the start's probability on average."""
    since_start: Annotated[float, Field(ge=1)] | None = 2.0
    """What all rounds together may do, in limits of one round: at 2, answers may become 1.3**2
    times as long as the start's, and GSM8K fall by 2 * 2 points. Limits of one round alone let a
    little harm pass in every round. null looks at each round alone. Of our own choice."""

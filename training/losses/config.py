"""The preference methods; each file holds one: its knobs, its formula, its paper."""

from typing import Annotated

from pydantic import Field

from contracts.config.variants import Variants
from training.losses.alphapo import AlphaPOConfig
from training.losses.base import LossVariant
from training.losses.cpo import CPOConfig
from training.losses.dpo import DPOConfig
from training.losses.dpo_norm import DPONormConfig
from training.losses.ipo import IPOConfig
from training.losses.kto import KTOConfig
from training.losses.ld_dpo import LDDPOConfig
from training.losses.orpo import ORPOConfig
from training.losses.r_dpo import RDPOConfig
from training.losses.rrhf import RRHFConfig
from training.losses.sft import SFTConfig
from training.losses.simpo import SimPOConfig
from training.losses.slic_hf import SLiCConfig

LossConfig = Annotated[
    SimPOConfig
    | AlphaPOConfig
    | DPOConfig
    | DPONormConfig
    | LDDPOConfig
    | IPOConfig
    | CPOConfig
    | KTOConfig
    | ORPOConfig
    | RDPOConfig
    | RRHFConfig
    | SLiCConfig
    | SFTConfig,
    Field(discriminator="kind"),
    Variants("onpolicy.losses", LossVariant),
]

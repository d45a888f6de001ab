"""The preference methods; each file holds one: its knobs, its formula, its paper."""

from typing import Annotated

from pydantic import Field

from contracts.config.variants import Variants
from training.losses.base import LossVariant
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

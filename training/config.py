"""How pairs become tokens, and how a policy is trained on them."""

import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.config.base import Config, Resources
from runtime.cluster.config import Cluster
from runtime.pool.placement import cores
from training.losses.config import LossConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.trackers.config import Tracker


class FormatConfig(Config):
    """Formatting: pairs become token ids, every sequence inside `max_length`."""

    format: Literal["standard", "recipe"] = "standard"
    """`standard`: the assistant's header belongs to the prompt, the loss covers the answer and
    its end of turn. `recipe`: as published (recipe, section 2): header, newline and an appended
    end of sequence are inside the mean too."""
    max_length: Annotated[int, Field(ge=8)] = 2048
    """Longest prompt plus response, in tokens (recipe: 2048)."""
    max_prompt_length: Annotated[int, Field(ge=4)] = 1800
    """Longest prompt, in tokens (recipe: 1800)."""
    truncation: Literal["drop", "right", "recipe"] = "drop"
    """What happens to a longer pair. `drop` leaves it out; `right` cuts the responses' ends;
    `recipe` cuts the prompt's start, then both responses to the difference of the two limits."""
    response_ids: Literal["retokenized", "sampled"] = "retokenized"
    """Train on the response's text as the template renders it, or on the very ids sampled."""
    bos: Literal["template", "prepend"] = "template"
    """Who gives the BOS token: the chat template, or us where the template has none."""
    date: datetime.date | None = None
    """The day that a chat template is told which reads the clock, as in the model's config."""
    off_policy: bool = False
    """Accept pairs that another policy sampled, as the published data sets are."""

    @model_validator(mode="after")
    def _room_for_a_response(self) -> Self:
        if self.max_prompt_length >= self.max_length:
            raise ValueError("max_prompt_length must leave room for a response below max_length")
        if self.format == "recipe" and self.response_ids == "sampled":
            raise ValueError("response_ids `sampled` needs format `standard`: the recipe's rows "
                             "hold tokens that no policy samples")  # fmt: skip
        return self


class TrainResources(Resources):
    """Where training runs; another choice changes the weights by rounding alone."""

    strategy: Literal["zero3", "zero2", "fsdp", "none"] = "zero3"
    """DeepSpeed ZeRO stage 3 or 2, torch's FSDP (split as ZeRO-3 splits), or the whole model in
    every process."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Processes, one a GPU: of this machine, or of all nodes of the cluster together."""
    cluster: Cluster | None = None
    """Where the processes run: null is this machine. The run's `resources.cluster`, unless
    given."""
    micro_batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Tokens a process holds in one forward pass, padding included. A longer pair goes alone."""
    layout: Literal["packed", "shared", "separate"] = "packed"
    """All pairs of a pass in one row without padding, each pair as a padded row that holds its
    prompt once, or each response as a padded row."""
    attention: Literal["auto", "flex", "flash", "segments", "eager", "sdpa"] = "auto"
    """`flex` (FlexAttention), `flash` (flash-attn from 2.6.3 on) and `segments` (pair by pair)
    skip what a mask would hide in a packed row, and soft-cap scores where the model does. `auto`:
    where packed, on a GPU the first of `flex` (needs Triton), `flash` and `segments` that is
    there, `segments` on the CPU; else `eager` for models that soft-cap (Gemma-2), `sdpa` for
    others. The log says which, and why."""
    logits_mib: Annotated[int, Field(ge=1)] = 256
    """Mebibytes of float32 logits that exist at once; those that fit are not made again in the
    backward pass."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass; none means on a GPU only."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What ZeRO keeps in the host's memory; `parameters` (ZeRO-3) holds the optimizer too."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads a process; 0 shares out the cores."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 100
    """Optimizer steps between checkpoints, which any other resources resume from; 0: none."""

    states_kept: Annotated[int, Field(ge=1)] | None = None
    """Rounds, the newest, whose optimizer's state is kept (`carry_optimizer`); none keeps all. The
    next round needs 1, and a gate that goes back keeps what it may need; to make a round anew
    needs the state of the one before it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.offload == "parameters" and self.strategy != "zero3":
            raise ValueError("offload `parameters` needs strategy `zero3`")
        if self.offload != "none" and "zero" not in self.strategy:
            raise ValueError("offload needs strategy `zero2` or `zero3`")
        if self.attention in ("segments", "flash") and self.layout != "packed":
            raise ValueError(f"attention `{self.attention}` needs layout `packed`")
        return self


class ReplayConfig(Config):
    """Earlier rounds' pairs among a round's own."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the pairs trained on that earlier rounds have made, as far as there are so many;
    round 1 has none. DICE (arXiv 2406.09760) mixes the first data in against forgetting."""
    rounds: Annotated[int, Field(ge=1)] | None = None
    """How many rounds back pairs are taken from; none means from all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the choice; a run sets it from its own."""


class ReferenceConfig(Config):
    """Scoring pairs with the reference model, for the losses that compare with one."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of the forward pass. `auto`: bfloat16 on CUDA, float32 on the CPU."""
    resources: TrainResources = TrainResources(strategy="none")
    """Where it runs. `strategy: fsdp` splits the reference over the processes; else each one
    holds the whole of it and scores rows of its own."""


class LoraConfig(Config):
    """LoRA (arXiv 2106.09685): train small matrices beside frozen weights."""

    rank: Annotated[int, Field(ge=1)] = 64
    """Inner width of the matrices."""
    alpha: Annotated[float, Field(gt=0)] = 128.0
    """Their product is scaled by alpha / rank."""
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], min_length=1
    )
    """Names of the linear layers that get them."""
    quantize: Literal["nf4"] | None = None
    """`nf4`: hold the frozen linear layers in 4 bits while training (QLoRA, arXiv 2305.14314).
    Needs bitsandbytes and strategy `none`. The adapter is merged into the weights as they were."""


class TrainConfig(Config):
    """Preference optimisation of a policy; defaults are the recipe's for Gemma (section 2)."""

    loss: LossConfig = SimPOConfig()
    """The method and its knobs."""
    weighting: Literal["wpo"] | None = None
    """`wpo`: a pair counts the less the less likely the policy is to say its responses (WPO,
    arXiv 2406.11827); for pairs of earlier or other policies."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights, and merge them in the end. Needs about ten times
    the learning rate."""
    learning_rate: Annotated[float, Field(gt=0)] = 8e-7
    """Peak learning rate; 1e-5 collapses into repetition (recipe, section 2)."""
    global_batch: Annotated[int, Field(ge=1)] = 128
    """Pairs an optimizer step, whatever the processes and micro-batches. An epoch's last batch
    may hold fewer; its loss is the mean over those."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the pairs, each in its own order."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    carry_optimizer: bool = False
    """Go on with the moments, step count and float32 weights that the round before ended with, so
    that small rounds are one training with fresh data (semi-online, arXiv 2506.21495). The state,
    12 bytes a trained weight, is kept with each round's policy."""
    schedule_rounds: Annotated[int, Field(ge=1)] | None = None
    """Rounds that one warm-up and one decay span, as if each had as many steps as the round at
    hand; none gives every round a schedule of its own. A run may not have more rounds, unless the
    schedule is `constant`."""
    schedule_round: Annotated[int, Field(ge=1)] = 1
    """Which of these rounds is trained; a run counts its own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay, on matrices only."""
    adam_betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    """AdamW's averaging of gradients and of their squares."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's term against division by zero; up to 1e-4 is said to steady training on fresh pairs
    (arXiv 2506.21495)."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Seed of the order of the pairs."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of forward and backward, and of the saved weights; AdamW works on float32 masters.
    `auto`: bfloat16 on CUDA, float32 on the CPU."""
    resources: TrainResources = TrainResources()
    """Where and in what batches; no part of the result's identity."""

    @property
    def hands_on(self) -> bool:
        """Whether a later round may go on with its state."""
        last = self.most_rounds
        return self.carry_optimizer and (last is None or self.schedule_round < last)

    @property
    def most_rounds(self) -> int | None:
        """Rounds after which the learning rate stays 0; none where it never does."""
        return None if self.schedule == "constant" else self.schedule_rounds

    @model_validator(mode="after")
    def _carries_over_one_schedule(self) -> Self:
        if self.carry_optimizer and not self.schedule_rounds:
            raise ValueError("carry_optimizer needs schedule_rounds: the number of rounds that one "
                             "warm-up and one decay span, e.g. as many as the run's")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _quantized_weights_stay_whole(self) -> Self:
        if self.lora and self.lora.quantize and self.resources.strategy != "none":
            raise ValueError(
                "lora.quantize needs resources.strategy `none`, each process with the whole model: "
                f"`{self.resources.strategy}` cannot split 4-bit weights"
            )
        return self

    @model_validator(mode="after")
    def _weights_have_a_meaning(self) -> Self:
        if self.weighting and not self.loss.weighs:
            raise ValueError(
                f"weighting `{self.weighting}` weighs a pair by both of its responses, and loss "
                f"`{self.loss.kind}` is of single ones; leave it out, or take a loss of pairs"
            )
        return self

    trackers: list[Tracker] = Field([])
    """Where the curves are shown while it trains, e.g. `[tensorboard]`; beside `tensorboard`
    there are `wandb` and `trackio`."""


def threads(resources: TrainResources) -> int:
    """CPU threads of each process."""
    share = cores() // resources.processes
    return resources.threads or max(1, share)

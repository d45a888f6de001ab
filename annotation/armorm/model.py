"""ArmoRM, natively: the published tensor names load with `from_pretrained`, no remote code runs.

A Llama backbone, a linear layer that reads raw objectives from the last token, and gating
that weighs them by what the prompt asks for (recipe, section 3; https://arxiv.org/abs/2406.12845).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel

from annotation.armorm import shared_prompt
from annotation.armorm.last_layer import read_last_layer
from annotation.scorers.heads import OBJECTIVES
from annotation.scorers.loading import load_weights


@dataclass(frozen=True)
class Rewards:
    """What ArmoRM says of a batch of responses, all float32."""

    scores: Float[Tensor, "responses"]
    """The gated sum."""
    objectives: Float[Tensor, "responses objectives"]
    """Raw, before the transform."""
    gating: Float[Tensor, "responses objectives"]
    """The weight of each transformed objective."""


class Gating(nn.Module):
    """softmax(MLP(hidden) / temperature) * logit_scale."""

    def __init__(self, config: LlamaConfig, objectives: int) -> None:
        super().__init__()
        # The defaults are the published config's values (recipe, section 3).
        width = getattr(config, "gating_hidden_dim", 1024)
        hidden_layers = getattr(config, "gating_n_hidden", 3)
        sizes = [config.hidden_size, *[width] * hidden_layers, objectives]
        self.temperature = float(getattr(config, "gating_temperature", 10))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.logit_scale = nn.Parameter(torch.ones(1))

    def forward(self, hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows objectives"]:
        """The weight of each objective."""
        *inner, last = self.layers
        for layer in inner:
            hidden = torch.relu(layer(hidden))
        return torch.softmax(last(hidden) / self.temperature, dim=-1) * self.logit_scale


class ArmoRM(LlamaPreTrainedModel):
    """The reward model. Its heads stay in float32 whatever the backbone's dtype."""

    # Not transformers' `_keep_in_fp32_modules`, which keeps them only where the rest is float16.
    _keep_in_fp32_modules_strict = ("regression_layer", "gating", "reward_transform_matrix")

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        objectives = getattr(config, "num_objectives", len(OBJECTIVES))
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, objectives, bias=False)
        self.gating = Gating(config, objectives)
        self.reward_transform_matrix = nn.Parameter(torch.eye(objectives))
        self.post_init()

    def forward(
        self,
        input_ids: Int[Tensor, "rows length"],
        last: Int[Tensor, "rows"],
        gating_at: Int[Tensor, "rows"],
    ) -> Rewards:
        """Score conversations in right-padded rows.

        Pads come after all that is read, and attention is causal, so they need no mask.

        Args:
            last: index of each row's last token.
            gating_at: index where the last assistant header's pattern starts.
        """
        hidden = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        rows = torch.arange(len(input_ids), device=hidden.device)
        return self._rewards(hidden[rows, last], self._gating_of(hidden[rows, gating_at]))

    def forward_shared(self, batch: shared_prompt.Packed) -> Rewards:
        """Score responses packed behind their prompts, each prompt computed once."""
        hidden = self.model.embed_tokens(batch.input_ids[None])
        cos_sin = self.model.rotary_emb(hidden, position_ids=batch.positions[None])
        *layers, last_layer = self.model.layers
        for layer in layers:
            hidden = layer(hidden, position_embeddings=cos_sin, batch=batch)
        rows = torch.cat([batch.gating_at, batch.last])
        read = read_last_layer(last_layer, hidden, cos_sin, batch.spans, rows)
        prompts, responses = self.model.norm(read).split([len(batch.gating_at), len(batch.last)])
        return self._rewards(responses, self._gating_of(prompts)[batch.prompt_of])

    def _gating_of(self, hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows objectives"]:
        return self.gating(hidden.float())

    def _rewards(
        self, hidden: Float[Tensor, "rows hidden"], gating: Float[Tensor, "rows objectives"]
    ) -> Rewards:
        objectives = self.regression_layer(hidden.float())
        return Rewards(
            (gating * (objectives @ self.reward_transform_matrix)).sum(-1), objectives, gating
        )


def load_armorm(reference: str, device: torch.device, dtype: torch.dtype) -> ArmoRM:
    """The model for scoring.

    Raises:
        UserError: no safetensors, another architecture, or tensors of the heads missing.
    """
    shared_prompt.register()
    attention = {"attn_implementation": shared_prompt.ATTENTION}
    model: ArmoRM = load_weights(ArmoRM, "armorm", reference, dtype, "ArmoRM", **attention)
    return model.to(device).eval()

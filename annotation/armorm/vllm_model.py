"""ArmoRM as a model class of vLLM's, which has none: one pooled row for each request.

vLLM's own Llama is the backbone; at a request's last token the heads give both the objectives
and the gating. A request that ends where the gating is read yields the gating, a whole conversation
its objectives. Shapes: S requests, T scheduled tokens, D hidden size, K objectives.
"""

from collections.abc import Iterable, Set
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.pooler.abstract import Pooler
from vllm.model_executor.models.llama import LlamaModel
from vllm.model_executor.models.utils import AutoWeightsLoader, maybe_prefix
from vllm.v1.pool.metadata import PoolingMetadata

from annotation.armorm.model import Gating
from annotation.scorers.heads import OBJECTIVES

TASK = "classify"


class VllmArmoRM(nn.Module):
    """The published tensor names; the heads in float32, whatever the backbone's dtype."""

    is_pooling_model: ClassVar[Literal[True]] = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        count = getattr(config, "num_objectives", len(OBJECTIVES))
        self.model = LlamaModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.regression_layer = nn.Linear(config.hidden_size, count, bias=False).float()
        self.gating = Gating(config, count).float()
        self.reward_transform_matrix = nn.Parameter(torch.eye(count, dtype=torch.float32))
        self.pooler = _LastToken(self)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, D]."""
        return self.model.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """[T, D], after the last norm."""
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """vLLM refuses the model if a parameter is not among the names that come back."""
        return set(AutoWeightsLoader(self).load_weights(weights))

    def heads(self, hidden: Tensor) -> Tensor:
        """[S, D] -> [S, 3K] float32: objectives, the same transformed, gating."""
        hidden = hidden.float()
        objectives = self.regression_layer(hidden)
        transformed = objectives @ self.reward_transform_matrix
        return torch.cat([objectives, transformed, self.gating(hidden)], dim=-1)


class _LastToken(Pooler):
    """The heads at each request's last scheduled token; vLLM keeps those of whole requests."""

    def __init__(self, model: VllmArmoRM) -> None:
        super().__init__()
        self._heads = model.heads  # a method, so that the model is no submodule of its own

    def get_supported_tasks(self) -> Set[Any]:
        return {TASK}

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> Tensor:
        """[T, D] -> [S, 3K]."""
        last = pooling_metadata.get_pooling_cursor().last_token_indices_gpu
        return self._heads(hidden_states[last])

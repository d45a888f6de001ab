"""PairRM, natively: the published tensor names load with `from_pretrained`, no remote code runs.

DeBERTa-v3 reads `<|source|>` prompt, `<|candidate1|>` one response and `<|candidate2|>` the
other; a small head scores each candidate's marker together with the source's, and the logit
is their difference (https://arxiv.org/abs/2306.02561; llm-blender/PairRM-hf).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model, DebertaV2PreTrainedModel

from annotation.scorers.heads import PAIRRM_MARKERS
from annotation.scorers.loading import load_weights


class PairRM(DebertaV2PreTrainedModel):
    """A comparison of two responses to one prompt."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        size, dropout = config.hidden_size, getattr(config, "drop_out", 0.0)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * size, size),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(size, getattr(config, "n_tasks", 1)),
        )
        self.post_init()

    @property
    def markers(self) -> tuple[int, ...]:
        """Ids of the source's, the first candidate's and the second candidate's marker."""
        return tuple(getattr(self.config, name) for name in PAIRRM_MARKERS)

    def forward(
        self, input_ids: Int[Tensor, "rows length"], attention_mask: Int[Tensor, "rows length"]
    ) -> Float[Tensor, "rows"]:
        """Logit of each row, float32: above 0 where the first response is better.

        A row holds each of the three markers once.
        """
        encoded = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask)
        source, first, second = (
            encoded.last_hidden_state[input_ids == marker] for marker in self.markers
        )
        scores = [self.head_layer(torch.cat([source, side], -1)) for side in (first, second)]
        return (scores[0] - scores[1]).mean(-1)


def load_pairrm(reference: str, device: torch.device, dtype: torch.dtype) -> PairRM:
    """The model for scoring.

    Raises:
        UserError: no safetensors, another architecture, or tensors missing.
    """
    model: PairRM = load_weights(PairRM, "pairwise", reference, dtype, "PairRM")
    return model.to(device).eval()

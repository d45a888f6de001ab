"""Scoring with any hub sequence classifier that has one label."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from annotation.annotators.base import ScoreResources
from annotation.annotators.classifier import ClassifierConfig
from annotation.scorers import batches
from annotation.scorers.batches import Group
from annotation.scorers.heads import refuse_labels
from annotation.scorers.loading import load_weights
from annotation.scorers.protocol import Score, checked
from annotation.scorers.reward_models import ModelScorer, placement
from contracts.chat import ChatFormat, Tokens
from contracts.models.model import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ClassifierScorer(ModelScorer):
    """A sequence classifier's only logit."""

    def _read(self, tokens: Tokens) -> tuple[list[int], int]:
        return tokens.response + tokens.trailer, 0

    def _batches(self, groups: list[Group]) -> Iterator[tuple[int, Score]]:
        return batches.in_batches(
            batches.alone(groups), self.budget, batches.padded_tokens, self._forward
        )

    def _forward(self, batch: Sequence[Group]) -> list[Score]:
        ids = self._padded(batch)
        lengths = torch.tensor([group.tokens for group in batch], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        logits = self.model(input_ids=ids, attention_mask=mask.long()).logits
        return [checked(value) for value in logits[:, 0].float().tolist()]


def open_classifier(
    config: ClassifierConfig, reference: str, resources: ScoreResources
) -> ClassifierScorer:
    """A sequence classifier on its device.

    Raises:
        UserError: the model or its tokenizer cannot be used, or its head would be random.
    """
    chat = ChatFormat(load_tokenizer(reference), config.bos, config.date)
    device, dtype = placement(config, resources)
    model = _load_classifier(reference, dtype).to(device).eval()
    scorer = ClassifierScorer(config, model, chat, resources)
    # transformers finds the last token by it; text cannot spell it, ChatFormat sees to that.
    model.config.get_text_config().pad_token_id = scorer.pad_id
    return scorer


def _load_classifier(reference: str, dtype: torch.dtype) -> "PreTrainedModel":
    from transformers import AutoModelForSequenceClassification

    model: PreTrainedModel = load_weights(
        AutoModelForSequenceClassification,
        "classifier",
        reference,
        dtype,
        "a classifier",
        trust_remote_code=False,
    )
    refuse_labels(reference, model.config.num_labels)
    return model

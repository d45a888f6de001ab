"""Scoring by comparison: every two responses of a prompt, in both orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import torch

from annotation.annotators.base import ScoreResources
from annotation.annotators.pairwise import PairwiseConfig
from annotation.scorers import batches
from annotation.scorers.batches import Group
from annotation.scorers.heads import PAIRRM_TOKENS, refuse_other_markers
from annotation.scorers.pairrm import PairRM, load_pairrm
from annotation.scorers.protocol import (
    Conversation,
    Score,
    Scoring,
    by_comparison,
    transcript,
)
from annotation.scorers.reward_models import budget_of, placement
from contracts.chat import RowError
from contracts.models.model import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Encoded:
    """A conversation's ids, each text behind its marker."""

    source: list[int]
    as_first: list[list[int] | None]
    """None where the response cannot be compared."""
    as_second: list[list[int] | None]


class PairwiseScorer:
    """PairRM over all pairs of a prompt's responses."""

    def __init__(
        self,
        config: PairwiseConfig,
        model: PairRM,
        tokenizer: "PreTrainedTokenizerBase",
        resources: ScoreResources,
    ) -> None:
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.budget = budget_of(resources, model.device)
        ids = tuple(tokenizer.convert_tokens_to_ids(list(PAIRRM_TOKENS)))
        refuse_other_markers(tokenizer.name_or_path, ids, model.markers)

    @property
    def facts(self) -> dict[str, Any]:
        """The device and the dtype."""
        return {"dtype": str(self.model.dtype), "device": self.model.device.type}

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """Each response's mean logit against the prompt's other responses, in nats."""
        return self.prepare(conversations)()

    def prepare(self, conversations: Sequence[Conversation]) -> Scoring:
        """Tokenise and pair up; what is left is the model's work."""
        scores: list[Score] = []
        games: list[tuple[int, int]] = []
        groups: list[Group] = []
        for conversation in conversations:
            start = len(scores)
            encodable, encoded = self._encode(conversation)
            scores += encodable
            fit = [i for i, score in enumerate(encodable) if score.error is None]
            # In both orders, as PairRM's logit depends on who stands first.
            for first, second in permutations(fit, 2):
                pair = [*(encoded.as_first[first] or []), *(encoded.as_second[second] or [])]
                groups.append(Group(encoded.source, [pair], [len(games)]))
                games.append((start + first, start + second))
        return partial(self._score, scores, games, groups)

    def _score(
        self, scores: list[Score], games: list[tuple[int, int]], groups: list[Group]
    ) -> list[Score]:
        logits = dict(self._compare(groups))
        results = [(*game, logits[i]) for i, game in enumerate(games)]
        return by_comparison(scores, results)

    def _compare(self, groups: list[Group]) -> list[tuple[int, float]]:
        with torch.inference_mode():
            return list(
                batches.in_batches(groups, self.budget, batches.padded_tokens, self._forward)
            )

    def _forward(self, batch: Sequence[Group]) -> list[float]:
        rows = [[*group.prompt, *group.responses[0]] for group in batch]
        width = max(map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        device = self.model.device
        return self.model(ids.to(device), mask.to(device)).float().tolist()

    def _encode(self, conversation: Conversation) -> tuple[list[Score], _Encoded]:
        try:
            text = transcript(conversation.messages)
            source, _ = self._ids(0, text, self.config.prompt_length)
        except RowError as error:
            refused = Score(error=f"{error.reason}: {error}")
            return [refused] * len(conversation.responses), _Encoded([], [], [])
        room = (self.config.max_length - len(source)) // 2
        encoded = _Encoded(source, [], [])
        scores = []
        for text in conversation.responses:
            sides: list[list[int] | None] = [None, None]
            try:
                (first, cut), (second, _) = (self._ids(side, text, room) for side in (1, 2))
                sides = [first, second]
                scores.append(Score(cut=cut))
            except RowError as error:
                scores.append(Score(error=f"{error.reason}: {error}"))
            encoded.as_first.append(sides[0])
            encoded.as_second.append(sides[1])
        return scores, encoded

    def _ids(self, marker: int, text: str, room: int) -> tuple[list[int], int | None]:
        """At most `room` ids, and how many were cut off."""
        if marker_text := next((name for name in PAIRRM_TOKENS if name in text), None):
            raise RowError("special_token_in_text", f"{marker_text} inside the text")
        ids: list[int] = self.tokenizer.encode(PAIRRM_TOKENS[marker] + text)
        if len(ids) <= room:
            return ids, None
        if self.config.too_long == "error":
            raise RowError("too_long", f"{len(ids)} tokens where {room} fit")
        # The last id is the tokenizer's own end, which every text has that PairRM was trained with.
        return [*ids[: room - 1], ids[-1]], len(ids) - room


def open_pairwise(
    config: PairwiseConfig, reference: str, resources: ScoreResources
) -> PairwiseScorer:
    """PairRM on its device.

    Raises:
        UserError: the model or its tokenizer cannot be used; says why.
    """
    tokenizer = load_tokenizer(reference)
    device, dtype = placement(config, resources)
    model = load_pairrm(reference, device, dtype)
    return PairwiseScorer(config, model, tokenizer, resources)

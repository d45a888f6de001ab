"""A model that compares two responses."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from annotation.annotators.base import RewardModel, Setting
from contracts.models.model import load_tokenizer, local_folder
from contracts.models.weights import read_config

if TYPE_CHECKING:
    from annotation.scorers.protocol import Scorer


class PairwiseConfig(RewardModel):
    """A model that compares two responses: PairRM's published architecture.

    Every two responses of a prompt are compared in both orders; a score is the mean logit over
    the others, so it orders one prompt's responses and says nothing across prompts.
    """

    preloads: ClassVar[str] = "annotation.scorers.pairwise"
    applies_template: ClassVar[bool] = False
    kind: Literal["pairwise"] = "pairwise"
    max_length: Annotated[int, Field(ge=24)] = 2048
    """Longest prompt with two responses, in tokens (PairRM's own limit)."""
    prompt_length: Annotated[int, Field(ge=8)] = 1224
    """Longest prompt in tokens; each response gets half of what it leaves (PairRM's own limit)."""

    def build(self, setting: Setting) -> "Scorer":
        """PairRM on its device."""
        from annotation.scorers.pairwise import open_pairwise

        return open_pairwise(self, setting.reference, setting.resources)

    @property
    def is_relative(self) -> bool:
        """A mean over the prompt's other responses."""
        return True

    def refuse_headless(self) -> None:
        """Refuse a model without PairRM's head over its three markers."""
        from annotation.scorers.heads import refuse_headless

        refuse_headless(self.kind, self.reference)

    def look_inside(self) -> None:
        """Try its tokenizer's markers."""
        if not (folder := local_folder(self.reference)):
            return
        from annotation.scorers.heads import PAIRRM_MARKERS, PAIRRM_TOKENS, refuse_other_markers

        settings = read_config(folder)
        tokenizer = load_tokenizer(self.reference)
        ids = tuple(tokenizer.convert_tokens_to_ids(list(PAIRRM_TOKENS)))
        refuse_other_markers(self.reference, ids, tuple(map(settings.get, PAIRRM_MARKERS)))

"""What scoring reads; its own module, since the stage's workers read it as well."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from annotation.annotators.base import AnnotatorVariant
from contracts.steps.inputs import Inputs, Model
from contracts.tables.schemas import PROMPTS, RESPONSES


class ScoreInputs(Inputs):
    """Responses, their prompts, and the models that score them."""

    prompts: Annotated[Path, PROMPTS]
    responses: Annotated[Path, RESPONSES]
    models: Mapping[str, Model] = {}
    """Annotator's name to its model where a run has fixed the commit, so that the model's content
    enters the identity."""

    def model_of(self, annotator: AnnotatorVariant) -> str:
        """The model an annotator loads: the commit that the run has fixed, else its config's."""
        return self.models.get(annotator.name, annotator.reference or "")

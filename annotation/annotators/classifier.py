"""Any sequence classifier with one label."""

from typing import TYPE_CHECKING, ClassVar, Literal

from annotation.annotators.base import RewardModel, Setting

if TYPE_CHECKING:
    from annotation.scorers.protocol import Scorer


class ClassifierConfig(RewardModel):
    """Any sequence classifier with one label, e.g. Skywork's or FsfairX's reward models."""

    preloads: ClassVar[str] = "annotation.scorers.classifier"
    kind: Literal["classifier"] = "classifier"

    def build(self, setting: Setting) -> "Scorer":
        """The classifier on its device."""
        from annotation.scorers.classifier import open_classifier

        return open_classifier(self, setting.reference, setting.resources)

    def refuse_headless(self) -> None:
        """Refuse a model without a head of one label."""
        from annotation.scorers.heads import refuse_headless

        refuse_headless(self.kind, self.reference)

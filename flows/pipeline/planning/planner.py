"""What the planning of every part of a run shares: places, policies, pinned references."""

import functools
from pathlib import Path
from typing import Any

from annotation import score
from annotation.config import Annotator, ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.steps.inputs import I
from contracts.steps.step import C, Stage
from evaluation import answers, gate
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.lineage import Lineage
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.spread import spread
from generation import sample
from generation.config import SampleConfig
from generation.engines import adapter
from training import train


class Planner:
    """Turns the run's one config into each stage's own."""

    def __init__(self, config: RunConfig, decided: Lineage) -> None:
        self._config = config
        self._decided = decided
        self._run = config.folder
        self._of = functools.cache(config.of_round)

    def _sample(
        self, root: str, asked: str, number: int, config: SampleConfig, seed: int,
        label: str = "sample responses", name: str = "responses",
    ) -> PlannedStep:  # fmt: skip
        """Answer the prompts in `asked` with round `number`'s policy."""
        inputs = sample.SampleInputs(
            prompts=self._at(asked), policy=self._policy(number), base=self._base(number)
        )
        settings = config.model_copy(update={"seed": seed, **self._template})
        return self._step(f"{root}/{name}", label, sample.STAGE, settings, inputs)

    def _score(
        self, root: str, asked: str, config: ScoreConfig, label: str = "score responses"
    ) -> PlannedStep:
        """Score the responses below `root` to the prompts in `asked`."""
        models = self._models(config.annotators)
        read = {"prompts": self._at(asked), "responses": self._at(f"{root}/responses")}
        inputs = ScoreInputs(**read, models=models)
        return self._step(f"{root}/scores", label, score.STAGE, config, inputs)

    def _step(self, path: str, label: str, stage: Stage[C, I], config: C, inputs: I) -> PlannedStep:
        # Whoever trains anew, e.g. with another ZeRO stage, wants to see it train; the answers'
        # files of another run have its name in them, and what it decided is its own.
        made_anew = {one.name for one in (train.STAGE, answers.STAGE, gate.STAGE)}
        shared = self._config.resources.reuse and stage.name not in made_anew
        config = spread(config, self._config.resources)
        return PlannedStep(self._run, path, label, stage, config, inputs, shared)

    def _at(self, path: str) -> Path:
        return self._run / path

    def _policy(self, number: int) -> str:
        """The policy that round `number` made; round 0's is the one the run starts from."""
        if number:
            return str(self._at(f"round-{number}/policy"))
        return self._config.pinned(self._config.policy.reference)

    def _trained_from(self, number: int) -> str:
        """The policy that round `number` trains."""
        is_first = self._of(number).start_from == "first"
        return self._policy(0 if is_first else self._decided.before(number))

    def _base(self, number: int) -> str | None:
        """What the policy of round `number` is an adapter to, where that lies on the hub."""
        base = "" if number else adapter.resolve(self._policy(0)).model
        return self._config.pinned(base) if base in self._config.commits else None

    def _models(self, annotators: list[Annotator]) -> dict[str, str]:
        """The reward models' references, so that their content enters the identity."""
        return {
            annotator.name: self._config.pinned(annotator.reference)
            for annotator in annotators
            if annotator.reference
        }

    @property
    def _template(self) -> dict[str, Any]:
        """How the policy's chat template is applied."""
        return {"bos": self._config.policy.bos, "date": self._config.policy.date}

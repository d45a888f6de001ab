"""What `onpolicy evaluate-reward-model` does."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from annotation import score
from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.config.base import Config
from contracts.steps.inputs import Inputs
from contracts.steps.step import Stage
from evaluation.reward_models.cases import TIES
from evaluation.reward_models.reward_bench import MOST_TIES, RewardBench, Subset, reward_bench
from evaluation.reward_models.scoring import score_cases
from evaluation.win_rates.estimate import Estimate, Resampling
from flows.pipeline.checks.check import refuse_unready
from flows.pipeline.config import RunConfig
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.shown_step import run_shown
from runtime.signals import interruptible


def evaluate(
    path: Path,
    overrides: Sequence[str],
    questions: str,
    out: Path | None,
    resampling: Resampling,
    as_json: bool,
) -> str:
    """Score the questions' answers with every annotator of a config; the same call goes on.

    Raises:
        UserError: the config, an annotator, or the questions cannot be used.
        OnPolicyError: not one answer was scored.
    """
    config = load_run(path, overrides)
    scoring = annotators(config)
    folder = out or config.runs_dir / "reward-models" / f"{config.name}-{_stem(questions)}"
    refuse_unready_annotators(config, scoring, folder)
    with interruptible():
        cases, scores = score_cases(scoring, questions, folder, as_process)
    results = {
        name: reward_bench(cases, by_answer, resampling) for name, by_answer in scores.items()
    }
    if as_json:
        return json.dumps({name: asdict(figures) for name, figures in results.items()}, indent=1)
    sure = f"{resampling.confidence:.0%} interval"
    return "\n".join(line for name, bench in results.items() for line in _lines(name, bench, sure))


def refuse_unready_annotators(config: RunConfig, scoring: ScoreConfig, folder: Path) -> None:
    """As a run looks at its annotators before its first stage.

    Raises:
        UserError: names all that is amiss with them; nothing was written.
    """
    inputs = ScoreInputs(prompts=folder / "prompts", responses=folder / "answers")
    step = PlannedStep(folder, "scores", "scores", score.STAGE, scoring, inputs)
    if not (step.out / "_manifest.json").is_file():
        refuse_unready(config, [step])


def as_process(stage: Stage, config: Config, inputs: Inputs, out: Path) -> None:
    """A stage as a run starts it, its progress and its warnings on standard error."""
    run_shown(PlannedStep(out.parent, out.name, "score the answers", stage, config, inputs))


def annotators(config: RunConfig) -> ScoreConfig:
    """Those of the responses and those of the held-out answers alone."""
    everybody = [*config.annotation.annotators, *config.evaluation.annotators]
    return config.annotation.model_copy(update={"annotators": everybody})


def _stem(questions: str) -> str:
    return Path(questions.partition("@")[0]).stem


def _lines(name: str, result: RewardBench, sure: str) -> Iterator[str]:
    yield f"{name}: {_told(result.score, sure)}, the mean over subsets"
    for subset, figures in result.subsets.items():
        yield f"  {subset:<20} {_told(figures.score, sure)}, {_count(figures)}"
    if TIES in result.subsets:
        yield f"  {TIES} is out of {MOST_TIES:g}, as RewardBench 2 counts it: 1 more for its margin"


def _told(estimate: Estimate | None, sure: str) -> str:
    if estimate is None:
        return "no score"
    return f"{estimate.value:.1f} % ({sure} {estimate.low:.1f} to {estimate.high:.1f})"


def _count(subset: Subset) -> str:
    missing = f"; {subset.unscored} more have an answer without a score" if subset.unscored else ""
    return f"{subset.n} questions{missing}"

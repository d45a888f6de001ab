"""The steps that judge a policy's answers to benchmarks, in a run or outside one."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from evaluation import judge, judged
from evaluation.config import JudgedConfig
from evaluation.judging.config import BenchmarkName, JudgingConfig, LLMJudge, RunJudge
from evaluation.judging.files import JudgingFile, PinnedFile
from flows.pipeline.planning.planned_step import PlannedStep

WIN_RATES = "win rates by judge"


def judging_steps(
    config: JudgedConfig,
    run: Path,
    questions: str,
    root: str,
    before: str | None,
    pinned: Callable[[str], str],
) -> Iterator[PlannedStep]:
    """Each judge over each benchmark, then the win rates.

    Args:
        questions: the folder of QUESTIONS in `run`.
        root: the folder in `run` with the policy's `answers`; its judgements come beside them.
        before: the same folder of the policy whose judgements it is compared with.
        pinned: a dataset's reference by its commit.
    """
    judges = config.asked_judges
    for one in judges:
        for benchmark in config.judged_by(one):
            yield _judgements(config, run, questions, root, one, benchmark, pinned)
    if judges:
        yield _win_rates(config, run, questions, root, before, pinned, "win_rates", WIN_RATES)


def gains_step(
    config: JudgedConfig,
    run: Path,
    questions: str,
    root: str,
    base: str,
    pinned: Callable[[str], str],
) -> PlannedStep:
    """The win rates of `root` with what it gained over `base`, in a folder of that name: whom a
    policy is compared with is no part of its own win rates."""
    title = f"gains over {base}"
    return _win_rates(config, run, questions, root, base, pinned, f"gains/{base}", title)


def _judgements(
    config: JudgedConfig, run: Path, questions: str, root: str, one: RunJudge,
    benchmark: BenchmarkName, pinned: Callable[[str], str],
) -> PlannedStep:  # fmt: skip
    files = config.judged_with.to_judge(benchmark)
    inputs = judge.JudgingInputs(
        answers=str(run / root / "answers"),
        asked=run / questions,
        **{role: pinned(file.path) for role, file in files.items()},
    )
    settings = JudgingConfig(
        benchmark=benchmark,
        judge=LLMJudge(**{key: getattr(one, key) for key in LLMJudge.model_fields}),
        files=_pins(files),
    )
    path = f"{root}/judgements/{one.name}/{benchmark}"
    return PlannedStep(run, path, f"judge {benchmark} by {one.name}", judge.STAGE, settings, inputs)


def _win_rates(
    config: JudgedConfig, run: Path, questions: str, root: str, before: str | None,
    pinned: Callable[[str], str], path: str, label: str,
) -> PlannedStep:  # fmt: skip
    names = [f"{one.name}/{of}" for one in config.asked_judges for of in config.judged_by(one)]
    files = {
        f"{benchmark}/{role}": file
        for benchmark in dict.fromkeys(name.partition("/")[2] for name in names)
        for role, file in config.judged_with.of(benchmark).items()
        if role != "references"
    }

    def judgements(folder: str) -> dict[str, Path]:
        return {name: run / folder / "judgements" / name for name in names}

    inputs = judged.WinRatesInputs(
        questions=run / questions,
        answers=run / root / "answers",
        judgements=judgements(root),
        before=judgements(before) if before else {},
        files={name: pinned(file.path) for name, file in files.items()},
    )
    settings = config.win_rates.model_copy(update={"files": _pins(files)})
    return PlannedStep(run, f"{root}/{path}", label, judged.STAGE, settings, inputs)


def _pins(files: Mapping[str, JudgingFile]) -> dict[str, PinnedFile]:
    return {name: file.pin for name, file in files.items() if file.pin != PinnedFile()}

"""What a run fixes when it is claimed and keeps to its end: its day, the commit that each name on
the hub stands for, and which judges are asked. A later start reads them back from `config.yaml`."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from contracts.clock import reads_clock, template_of
from contracts.models import hub
from contracts.models.model import ModelConfig
from evaluation.judging.config import RunJudge
from flows.pipeline.config import RunConfig
from generation.engines import adapter
from generation.prompts import inputs_of
from runtime.chat_api.endpoint import has_key


def fixed(config: RunConfig) -> RunConfig:
    """The config, which says who judges, with all else that is to stay as it is now; what it
    gives itself is kept.

    Raises:
        UserError: a model is not there, or the hub cannot be asked.
    """
    today = config.date or date.today()
    commits = {
        name: config.commits.get(name) or hub.commit_of(kind, reference)
        for name, (kind, reference) in _on_the_hub(config).items()
    }
    config = config.model_copy(update={"date": today, "commits": commits})

    def date_of(model: ModelConfig) -> date | None:
        tokenizer = config.pinned(adapter.resolve(config.pinned(model.reference)).tokenizer)
        return today if reads_clock(template_of(tokenizer)) else None

    return _with_dates(config, date_of)


def with_keys(config: RunConfig) -> RunConfig:
    """The config with whether each judge is asked: where its key is there, unless it says so."""
    return _with_judges(config, has_key)


def dated(config: RunConfig) -> RunConfig:
    """The config with the day that its claim would fix, told to every model; nothing is asked of
    the hub, and a template that does not read the clock is the same on every day."""
    today = config.date or date.today()
    return _with_dates(config, lambda _: today)


def all_fixed(config: RunConfig, made_by: RunConfig | None) -> bool:
    """Whether `made_by`, the config that the run was claimed with, has fixed all that is read."""
    if made_by is None or made_by.date is None:
        return False
    known = {_key(model) for model in _models(made_by)}
    unknown = {_key(model) for model in _models(config)} - known
    return not unknown and config.commits.keys() >= _on_the_hub(config).keys()


def as_claimed(config: RunConfig, made_by: RunConfig) -> RunConfig:
    """The config with what `made_by`, the one that the run was claimed with, has fixed.

    What a config gives itself stays, and is a drift where the run has it otherwise.
    """
    today = config.date or made_by.date
    dates = {
        _key(model): today if model.date and model.date == made_by.date else model.date
        for model in _models(made_by)
    }
    pinned = {name: config.commits[name] for name in _on_the_hub(config) if name in config.commits}
    fixed = {"date": today, "commits": made_by.commits | pinned}
    enabled = {judge.name: judge.enabled for judge in made_by.evaluation.judges}
    config = _with_judges(config, lambda judge: enabled.get(judge.name))
    return _with_dates(config.model_copy(update=fixed), lambda model: dates.get(_key(model)))


def _on_the_hub(config: RunConfig) -> dict[str, tuple[hub.Kind, str]]:
    """What the config reads off the hub by a name that may move: kind and reference, by its full
    name."""
    references: dict[str, tuple[hub.Kind, str]] = {}
    models = [model.reference for model in _models(config)]
    models.append(adapter.resolve(config.policy.reference).model)
    for reference in filter(hub.may_move, models):
        references[hub.full_name("model", reference)] = "model", reference
    for reference in filter(hub.may_move, datasets_of(config)):
        references[hub.full_name("dataset", reference)] = "dataset", reference
    return references


def datasets_of(config: RunConfig) -> list[str]:
    """What the config reads prompts, questions and judges' files from, on the hub or here."""
    questions = [benchmark.source for benchmark in config.evaluation.benchmarks]
    judged_with = [file.path for file in config.evaluation.files_of_judges.values()]
    return [*inputs_of(config.prompts).by_name.values(), *questions, *judged_with]


def _models(config: RunConfig) -> Iterator[ModelConfig]:
    yield config.policy
    for annotator in [*config.annotation.annotators, *config.evaluation.annotators]:
        if isinstance(annotator, ModelConfig):
            yield annotator


def _key(model: ModelConfig) -> tuple[str, str]:
    return getattr(model, "name", ""), model.reference


def _with_judges(config: RunConfig, is_asked: Callable[[RunJudge], bool | None]) -> RunConfig:
    """The config with whether each judge is asked, where it does not say so itself."""
    judges = [
        judge
        if judge.enabled is not None
        else judge.model_copy(update={"enabled": is_asked(judge)})
        for judge in config.evaluation.judges
    ]
    section = config.evaluation.model_copy(update={"judges": judges})
    return config.model_copy(update={"evaluation": section})


def _with_dates(config: RunConfig, date_of: Callable[[ModelConfig], date | None]) -> RunConfig:
    """The config with a date for each model that has none of its own and whose template asks."""

    def all_told(section: Any) -> Any:
        annotators = [annotator.dated(date_of) for annotator in section.annotators]
        return section.model_copy(update={"annotators": annotators})

    return config.model_copy(
        update={
            "policy": config.policy.dated(date_of),
            "annotation": all_told(config.annotation),
            "evaluation": all_told(config.evaluation),
        }
    )

"""What stops no run, but is to be known before it begins."""

from collections.abc import Sequence

from flows.pipeline.checks.enough_prompts import shortest_round
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.folder.run_folder import settled
from flows.pipeline.planning.planned_step import PlannedStep
from training.loop.schedule import Schedule


def worth_knowing(config: RunConfig, left: Sequence[PlannedStep]) -> list[str]:
    """A line for each judge that is not asked, for what some rounds go without, and for a round
    with too few prompts.

    Args:
        config: as the user gives it.
        left: the steps that are to be made.
    """
    short = shortest_round(config, left)
    lines = [*unasked_judges(config), *rounds_without(config)]
    return [*lines, *([str(short)] if short else [])]


def rounds_without(config: RunConfig) -> list[str]:
    """A line for a replay without earlier rounds, for last rounds that nobody evaluates, and for
    trainings of a single step, which is the warm-up's."""
    rounds, every = settled(config).rounds, config.evaluation.every
    lines = []
    if config.replay and rounds == 1:
        lines.append("replay takes pairs of earlier rounds, and `rounds` is 1: there are none")
    if left := rounds % every:
        of_none = (
            f"round {rounds} is" if left == 1 else f"rounds {rounds - left + 1} to {rounds} are"
        )
        lines.append(
            f"{of_none} not evaluated, so that nothing is known of the last policy, and no gate "
            f"follows it: evaluation.every is {every}; make `rounds` a multiple of it"
        )
    for key, one in config.stretches.items():
        pairs = most_pairs(one)
        idle = Schedule(one.training, pairs).idle if pairs else None
        lines += [f"{key}training: at most {idle}"] if idle else []
    return lines


def most_pairs(config: RunConfig) -> int | None:
    """Pairs that a round trains on at most, where that can be known before the prompts are read."""
    limit = config.prompts.limit
    prompts = config.prompts_per_round or (limit and limit - config.prompts.test_size)
    if not prompts or config.pairs.strategy.several:
        return None
    share = config.replay.share if config.replay else 0.0
    return round(prompts / (1 - share))


def unasked_judges(config: RunConfig) -> list[str]:
    """A line for each judge that is left out for its key, and not by the user: it stays so to the
    run's end."""
    is_claimed = recorded(config.folder) is not None
    way_out = (
        "evaluation.judges.{number}.enabled=true with --redo evaluation/verdict asks it"
        if is_claimed
        else "set it, or the whole run goes without that judge"
    )
    was = "was not set as the run was claimed" if is_claimed else "is not set"
    return [
        f"judge {one.name!r} is not asked: {one.resources.api_key_env} {was}; "
        + way_out.format(number=number)
        for number, (one, at) in enumerate(
            zip(config.evaluation.judges, settled(config).evaluation.judges, strict=True)
        )
        if one.enabled is None and at.enabled is False
    ]

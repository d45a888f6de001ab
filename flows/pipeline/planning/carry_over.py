"""Whether rounds can be one training: one schedule, one optimizer, one method."""

from collections.abc import Mapping

from training.config import TrainConfig

# What the optimizer's state, or the place in the schedule, is of.
_OF_ALL_ROUNDS = ("carry_optimizer", "schedule_rounds", "schedule", "warmup_ratio", "lora")


def carry_over_fault(trainings: Mapping[str, TrainConfig], rounds: int) -> str:
    """What keeps a run's rounds from going on with one optimizer or one schedule, with its key;
    empty if nothing does.

    Args:
        trainings: the settings of each stretch of rounds, by what stands before their keys.
    """
    first = next(iter(trainings.values()))
    for key, training in trainings.items():
        if training.schedule_round != 1:
            return f"{key}training.schedule_round: a run counts its rounds itself"
        if not (first.schedule_rounds or training.schedule_rounds):
            continue
        for name in _OF_ALL_ROUNDS:
            if getattr(training, name) != getattr(first, name):
                return (f"{key}training.{name}: is one for all rounds where they share a schedule "
                        "(schedule_rounds) and may share an optimizer")  # fmt: skip
        if first.carry_optimizer and training.loss.kind != first.loss.kind:
            return (f"{key}training.loss: {training.loss.kind} cannot go on with the moments that "
                    f"{first.loss.kind} has left, whose gradients have another scale; keep the "
                    "loss, or leave training.carry_optimizer out")  # fmt: skip
    most = first.most_rounds
    if most and rounds > most:
        return (
            f"rounds: {rounds} are more than training.schedule_rounds ({most}), after which the "
            "learning rate stays 0; raise that too, which trains every round anew, or take "
            "`training.schedule: constant`"
        )
    return ""

"""Who judges a policy that was not trained against it."""

from collections.abc import Collection, Sequence

from annotation.config import Annotator


def second_annotator(
    annotators: Sequence[Annotator], held_out: Sequence[Annotator], makers: Collection[str]
) -> str | None:
    """The first of `held_out` that has no part in the pairs, those of evaluation alone first.

    Args:
        annotators: who scores the responses that pairs are made of.
        held_out: who scores held-out answers.
        makers: names of those by whose scores pairs are made.
    """
    against = _with_members([one for one in annotators if one.name in makers])
    of_pairs = {annotator.name for annotator in annotators}
    others = sorted(held_out, key=lambda one: one.name in of_pairs)
    return next((one.name for one in others if against.isdisjoint(_with_members([one]))), None)


def _with_members(annotators: Sequence[Annotator]) -> set[str]:
    """Their names, and those of an ensemble's members."""
    members = [name for annotator in annotators for name in annotator.combines]
    return {annotator.name for annotator in annotators}.union(members)

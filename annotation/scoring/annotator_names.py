"""Whether the annotators that a run's sections name by name are there."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence

from annotation.config import Annotator


def naming_faults(
    annotators: Sequence[Annotator],
    evaluation: Sequence[Annotator],
    deciding: Mapping[str, str | None],
) -> list[str]:
    """What is wrong with the names, a line each.

    Args:
        annotators: who scores the responses that pairs are made of.
        evaluation: who scores held-out answers beside them.
        deciding: by key, who is named there to decide; None where nobody is.
    """
    names = [annotator.name for annotator in annotators]
    others = [annotator.name for annotator in evaluation]
    return [
        *_given_twice(names, others),
        *_missing_members([*annotators, *evaluation], evaluation),
        *(fault for key, who in deciding.items() for fault in _undecided(key, who, names, others)),
    ]


def _given_twice(names: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(others):
        if name in names:
            yield (
                f"evaluation.annotators: {name!r} is a name under annotation.annotators too, which "
                "score held-out answers as well: leave it out here, or give it a name of its own"
            )
        if others.count(name) > 1:
            yield f"evaluation.annotators: two annotators are named {name!r}; rename one of them"


def _missing_members(
    everybody: Sequence[Annotator], evaluation: Sequence[Annotator]
) -> Iterator[str]:
    known = [one.name for one in everybody if not one.combines]
    for annotator in evaluation:
        for member in annotator.combines:
            if member not in known:
                yield (
                    f"evaluation.annotators: ensemble {annotator.name!r}: no annotator is named "
                    f"{member!r}; {_there_is(member, known)}"
                )


def _undecided(
    key: str, who: str | None, names: Sequence[str], others: Collection[str]
) -> Iterator[str]:
    if who is None and len(names) > 1:
        yield (
            f"{key}: there are several annotators ({', '.join(names)}); name the one whose scores "
            "decide"
        )
    elif who is not None and who in others and who not in names:
        yield (
            f"{key}: {who!r} is an annotator under evaluation.annotators alone, which do not score "
            "what pairs are made of; move it to annotation.annotators"
        )
    elif who is not None and who not in names:
        yield f"{key}: no annotator is named {who!r}; {_there_is(who, names)}"


def _there_is(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is {', '.join(known)}{meant}"

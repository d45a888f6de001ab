"""Arena-Hard: the win rate of two swapped games a prompt, plain and at equal style.

As `show_result.py` of lmarena/arena-hard-auto (HEAD 196f6b8, read) scores them, with these
differences: resamples are of prompts, not of score rows (a verdict of weight 3 is three rows there,
so its interval is too narrow), and seeded; the interval is 95 %, not 90; a game without a verdict
is counted, not skipped in silence. With one baseline Bradley-Terry is the logit of the mean, so
the mean is the figure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.agreement import agreement
from evaluation.win_rates.equal_style import EqualStyle, at_equal_style
from evaluation.win_rates.estimate import Estimate, Resampling, ratio, times
from evaluation.win_rates.figures import Figures, counted, line
from evaluation.win_rates.records import Record, read_rows, refuse_several
from evaluation.win_rates.style import Style, difference

_STRONG = 3
"""How much a verdict with `>>` counts."""
_VERDICTS = {
    "A>>B": (1.0, _STRONG),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B=A": (0.5, 1),
    "B>A": (0.0, 1),
    "A<B": (0.0, 1),
    "B>>A": (0.0, _STRONG),
    "A<<B": (0.0, _STRONG),
    "B<A": (1.0, 1),
    "B<<A": (1.0, _STRONG),
}


@dataclass(frozen=True)
class Games:
    """A prompt's two games, seen from the model: 1 won, 0.5 tied, 0 lost."""

    question: str
    results: tuple[float, float]
    weights: tuple[int, int]


@dataclass(frozen=True)
class ArenaHard(Figures):
    """Share of the games won against the baseline, in per cent."""

    n: int
    """Prompts with both games."""
    unjudged: list[str]
    """Prompts of which a game has no verdict: in no figure here."""
    asked: int
    """Prompts of the benchmark."""
    win_rate: Estimate
    style_controlled: Estimate | None
    """At equal token length, headers, lists and bold; None without the answers' styles."""
    not_style_controlled: str | None
    """Why there is none although the styles are known."""
    position_agreement: Estimate
    """Share of prompts where both orders name the same side, per cent."""

    def lines(self, sure: str) -> Iterator[str]:
        """The win rate, the one at equal style, and how far both orders agree."""
        yield f"{counted(self.n, self.asked)} prompts with a verdict of both games"
        yield line("win rate", self.win_rate, " %", sure)
        if self.style_controlled:
            yield line("at equal style", self.style_controlled, " %", sure)
        if self.not_style_controlled:
            yield f"  at equal style     not known: {self.not_style_controlled}"
        yield line("both orders agree", self.position_agreement, " %", sure)


def read_games(path: Path) -> tuple[list[Games], list[str]]:
    """Both games of each prompt in a `model_judgment/*.jsonl` (v0.1 or v2), and the prompts of
    which one has no verdict. The baseline is A in the first game and B in the second.

    Raises:
        UserError: a row of another shape, a verdict that is none, a prompt there twice, or several
            models or categories.
    """
    games: dict[str, Games | None] = {}
    records = read_rows(path)
    refuse_several(records, "model", path, "a win rate is of one model")
    refuse_several(records, "category", path, "v2's categories have baselines of their own")
    for number, record in enumerate(records, start=1):
        place = f"{path}: row {number}"
        question = record.get("question_id", record.get("uid"))
        if not isinstance(question, (str, int)):
            raise UserError(f"{place}: has neither `question_id` nor `uid`")
        if str(question) in games:
            raise UserError(f"{place}: question {question} was judged before; keep one of the two")
        games[str(question)] = _games(str(question), record, place)
    return [g for g in games.values() if g], [name for name, g in games.items() if g is None]


def arena_hard_win_rate(
    games: Sequence[Games],
    resampling: Resampling,
    unjudged: Sequence[str] = (),
    asked: int = 500,
    styles: tuple[Mapping[str, Style], Mapping[str, Style]] | None = None,
) -> ArenaHard:
    """The figures of a model.

    Args:
        styles: of the model's and the baseline's answers, by question.

    Raises:
        UserError: no prompt has both games, or an answer's style is missing.
    """
    if not games:
        raise UserError("Arena-Hard: no prompt has a verdict of both games")
    results = np.array([game.results for game in games])
    weights = np.array([game.weights for game in games], float)
    won, of = (results * weights).sum(1), weights.sum(1)
    controlled = _style_controlled(games, won, of, styles, resampling)
    return ArenaHard(
        len(games),
        list(unjudged),
        asked,
        times(100, ratio(won, of, resampling)),
        controlled.estimate,
        controlled.missing,
        times(100, agreement(results[:, 0], results[:, 1], 0.5, resampling).same_side),
    )


def _games(question: str, record: Record, place: str) -> Games | None:
    games = record.get("games")
    if not isinstance(games, list) or len(games) != 2:
        raise UserError(f"{place}: `games` is to be a list of two games, one in each order")
    verdicts = [_verdict(game, place) for game in games]
    if verdicts[0] is None or verdicts[1] is None:
        return None
    (first, first_weight), (second, second_weight) = verdicts[0], verdicts[1]
    return Games(question, (1 - first, second), (first_weight, second_weight))


def _verdict(game: Any, place: str) -> tuple[float, int] | None:
    """Result of side A and its weight; None where the judge gave none."""
    score = game.get("score") if isinstance(game, dict) else None
    if score is None:
        return None
    if not isinstance(score, str) or score not in _VERDICTS:
        raise UserError(f"{place}: {score!r} is no verdict; there is {', '.join(_VERDICTS)}")
    return _VERDICTS[score]


def _style_controlled(
    games: Sequence[Games],
    won: np.ndarray,
    of: np.ndarray,
    styles: tuple[Mapping[str, Style], Mapping[str, Style]] | None,
    resampling: Resampling,
) -> EqualStyle:
    if styles is None:
        return EqualStyle()
    for name in (game.question for game in games):
        if not all(name in side for side in styles):
            raise UserError(f"Arena-Hard: question {name} has no answer to take the style of")
    differences = np.array(
        [difference(*(side[game.question] for side in styles)) for game in games]
    )
    return at_equal_style(differences, won, of - won, resampling)

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
from evaluation.win_rates.estimate import Estimate, Resampling, ratio, refitted, times
from evaluation.win_rates.figures import Figures, counted, line
from evaluation.win_rates.records import Record, read_rows, refuse_several
from evaluation.win_rates.style import Style, difference

_STRONG = 3
"""How much a verdict with `>>` counts."""
_RIDGE, _MOST_STEPS, _LONGEST_STEP, _TOLERANCE = 1e-6, 100, 2.0, 1e-8
"""Of the fit at equal style."""
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
    """Per cent of the games won against the baseline."""

    n: int
    """Prompts with both games."""
    unjudged: list[str]
    """Prompts of which a game has no verdict: in no figure here."""
    asked: int
    """Prompts of the benchmark."""
    win_rate: Estimate
    style_controlled: Estimate | None
    """At equal token length, headers, lists and bold; None without the answers' styles."""
    position_agreement: Estimate
    """Share of prompts where both orders name the same side, per cent."""

    def lines(self, sure: str) -> Iterator[str]:
        """The win rate, the one at equal style, and how far both orders agree."""
        yield f"{counted(self.n, self.asked)} prompts with a verdict of both games"
        yield line("win rate", self.win_rate, " %", sure)
        if self.style_controlled:
            yield line("at equal style", self.style_controlled, " %", sure)
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
    return ArenaHard(
        len(games),
        list(unjudged),
        asked,
        times(100, ratio(won, of, resampling)),
        _style_controlled(games, won, of, styles, resampling) if styles else None,
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
    if score not in _VERDICTS:
        raise UserError(f"{place}: {score!r} is no verdict; there is {', '.join(_VERDICTS)}")
    return _VERDICTS[score]


def _style_controlled(
    games: Sequence[Games],
    won: np.ndarray,
    of: np.ndarray,
    styles: tuple[Mapping[str, Style], Mapping[str, Style]],
    resampling: Resampling,
) -> Estimate:
    """What a logistic fit on the differences of style predicts where there is none.

    The differences are scaled but not centred: centred on the model's own mean, as the official
    script does over all models at once, a single model's figure would be controlled for nothing.
    """
    for name in (game.question for game in games):
        if not all(name in side for side in styles):
            raise UserError(f"Arena-Hard: question {name} has no answer to take the style of")
    differences = np.array(
        [difference(*(side[game.question] for side in styles)) for game in games]
    )
    features = np.column_stack([np.ones(len(games)), _scaled(differences)])

    def at_equal_style(counts: np.ndarray) -> float:
        return _predicted(features, counts * won, counts * (of - won))

    value = at_equal_style(np.ones(len(games)))
    return times(100, refitted(at_equal_style, len(games), value, resampling))


def _scaled(differences: np.ndarray) -> np.ndarray:
    """[prompts, features] each by its deviation. One that is the same for all prompts tells nothing
    of them and is left at zero: by the deviation that rounding gives it (1e-17), it took the place
    of the constant, and every win rate was 50."""
    deviation = differences.std(0)
    varies = deviation > _TOLERANCE
    scaled: np.ndarray = np.where(varies, differences / np.where(varies, deviation, 1), 0)
    return scaled


def _predicted(features: np.ndarray, won: np.ndarray, lost: np.ndarray) -> float:
    """Probability of a win where all features but the first, which is 1, are 0.

    Newton's method: scikit-learn's fit gives the same figure (to 1e-6) in 40 ms, this in 0.3, and
    there are 1,000. Where style tells wins from losses without fault, which resamples of few
    prompts do, no fit has an end; the ridge gives it one.
    """
    if not won.any() or not lost.any():
        return float(won.any())
    weights, of = np.zeros(features.shape[1]), won + lost
    ridge = _RIDGE * np.eye(len(weights))
    for _ in range(_MOST_STEPS):
        probability = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (won - of * probability) - ridge @ weights
        curvature = (features.T * (of * probability * (1 - probability))) @ features + ridge
        step = np.linalg.solve(curvature, gradient)
        weights += step / max(1.0, np.abs(step).max() / _LONGEST_STEP)
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(1 / (1 + np.exp(-weights[0])))

"""Figures that hold something still: AlpacaEval's length, Arena-Hard's style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.win_rates.alpaca_eval.annotations import read_annotations
from evaluation.win_rates.alpaca_eval.instructions import (
    Instructions,
    alpaca_eval,
    instructions_among,
)
from evaluation.win_rates.alpaca_eval.win_rate import AlpacaEvalFiles, length_controlled_rate
from evaluation.win_rates.arena_hard import arena_hard_win_rate, read_games
from evaluation.win_rates.estimate import Estimate, Resampling
from evaluation.win_rates.style import read_styles


@dataclass(frozen=True)
class Materials:
    """What the figures of one judge and benchmark are computed from."""

    judgements: Path
    """The judge's folder, with the benchmark's own files."""
    answers: Path
    """The folder of the model's answers in the benchmark's own format."""
    files: Mapping[str, Path]
    """By role: `difficulty`, `gamed`, `baseline`."""
    instructions: Sequence[str]
    """What was asked, in order."""


@dataclass(frozen=True)
class Controlled:
    """Figures by name; empty where there is nothing to control by."""

    figures: Mapping[str, Estimate] = field(default_factory=dict)
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    """Over the round before."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a figure is none although the files for it are there."""


def length_controlled(
    materials: Materials, before: Path | None, resampling: Resampling
) -> Controlled:
    """AlpacaEval's length-controlled win rate, where the instructions' difficulties are known."""
    files = AlpacaEvalFiles(materials.files.get("gamed"), materials.files.get("difficulty"))
    if not files.any:
        return Controlled()
    known = instructions_asked(materials.instructions)
    annotations = read_annotations(materials.judgements / "annotations.json", known)
    rate = length_controlled_rate(annotations, known, files)
    if isinstance(rate, str):
        return Controlled(missing={"lc_win_rate": rate})
    figures = {"lc_win_rate": rate.estimate(resampling)}
    if before is None:
        return Controlled(figures)
    older = read_annotations(before / "annotations.json", known)
    both = set(annotations.index.tolist()) & set(older.index.tolist())
    new, old = (
        length_controlled_rate(one.only(both), known, files) for one in (annotations, older)
    )
    if isinstance(new, str) or isinstance(old, str):
        return Controlled(figures)
    return Controlled(figures, {"lc_win_rate": new.gain(old, resampling)})


def style_controlled(materials: Materials, resampling: Resampling) -> Controlled:
    """Arena-Hard's win rate at equal style, where the baseline's answers say their lengths."""
    baseline = materials.files.get("baseline")
    if baseline is None:
        return Controlled()
    games, _ = read_games(next((materials.judgements / "model_judgment").rglob("*.jsonl")))
    if not games:
        return Controlled()
    answers = next((materials.answers / "model_answer").glob("*.jsonl"))
    styles = (read_styles(answers), read_styles(baseline))
    rate = arena_hard_win_rate(games, resampling, styles=styles)
    if rate.style_controlled is None:
        return Controlled(missing={"style_controlled": str(rate.not_style_controlled)})
    return Controlled({"style_controlled": rate.style_controlled})


def instructions_asked(asked: Sequence[str]) -> Instructions:
    """AlpacaEval's own where all that was asked is among them, so that its files' numbers hold."""
    official = alpaca_eval()
    if all(official.index(text) is not None for text in asked):
        return official
    return instructions_among(asked)

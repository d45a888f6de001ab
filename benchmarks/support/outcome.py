"""What a benchmark prints: one JSON object, on its last line."""

import json
import statistics
from collections.abc import Sequence
from typing import Any


def report(
    name: str, figure: float, reach: float, unit: str, *, at_most: bool = False, **detail: Any
) -> None:
    """Print the figure beside the least, or the most, that it is to be."""
    outcome = {
        "name": name,
        "figure": round(figure, 3),
        "reach": reach,
        "holds": figure <= reach if at_most else figure >= reach,
        "unit": unit,
        "detail": detail,
    }
    print(json.dumps(outcome), flush=True)


def report_at_most(name: str, figure: float, reach: float, unit: str, **detail: Any) -> None:
    """Print a figure that is to be no more than `reach`; its unit says so."""
    report(name, figure, reach, f"{unit}; at most", at_most=True, **detail)


def report_passes(
    name: str, figures: Sequence[float], reach: float, unit: str, **detail: Any
) -> None:
    """`report` the median of several passes' figures, with their span."""
    report(
        name,
        statistics.median(figures),
        reach,
        unit,
        passes=len(figures),
        lowest=round(min(figures), 3),
        highest=round(max(figures), 3),
        **detail,
    )

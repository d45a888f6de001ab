"""What a benchmark prints: one JSON object, on its last line."""

import json
from typing import Any


def report(name: str, figure: float, reach: float, unit: str, **detail: Any) -> None:
    """Print the figure beside the least that it is to reach."""
    outcome = {
        "name": name,
        "figure": round(figure, 3),
        "reach": reach,
        "holds": figure >= reach,
        "unit": unit,
        "detail": detail,
    }
    print(json.dumps(outcome), flush=True)

"""What a flow run is called in the UI: Prefect's own word pairs tell no run from another."""

from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from contracts.errors import UserError
from flows.pipeline.folder.recorded import recorded_keys
from flows.pipeline.load_run import load_run


def rounds_left() -> str:
    """`demo, round 2`, `demo, rounds 1 to 2`: the run, and what is left of it as this start begins;
    `demo` where nothing is."""
    given = flow_run.parameters
    return named(given["config"], next_round=bool(given.get("next_round")))


def named(config: dict[str, Any] | str, next_round: bool) -> str:
    """The name, by the run's folder: no plan is made, for nobody may wait for a name."""
    if isinstance(config, str):
        config = load_run(Path(config), []).model_dump(mode="json")
    name, folder = str(config["name"]), Path(config.get("runs_dir", "runs")) / config["name"]
    every = (config.get("evaluation") or {}).get("every", 1)
    rounds = max(int(config.get("rounds", 1)), _recorded_rounds(folder))
    first = 1 + max((k for k in range(1, rounds + 1) if _is_done(folder, k, every)), default=0)
    last = rounds + (next_round and first > rounds)
    if first > last:
        return name
    return f"{name}, round {first}" if first == last else f"{name}, rounds {first} to {last}"


def _is_done(folder: Path, number: int, every: int) -> bool:
    last = "policy" if number % every else "evaluation/verdict"
    return (folder / f"round-{number}" / last / "_manifest.json").exists()


def _recorded_rounds(folder: Path) -> int:
    """A schedule may have added some."""
    try:
        return int(recorded_keys(folder).get("rounds", 1))
    except (UserError, OSError):
        return 1

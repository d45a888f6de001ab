"""What of a run can be looked through: its finished parts, by kind and by round."""

import json
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UserError
from flows.pipeline.folder.rounds import round_folders


@dataclass(frozen=True)
class Responses:
    """One table of responses, with the tables beside it."""

    round: int
    held_out: bool
    folder: Path
    """Of the round, or of its evaluation."""

    def parts(self, name: str) -> list[str]:
        """The parts of its `responses`, `scores` or `pairs`, as DuckDB takes them."""
        return [str(part) for part in _parts(self.folder / name)]


def responses_of(run: Path) -> list[Responses]:
    """Every table of responses below a run's folder, in order.

    Raises:
        UserError: there is none.
    """
    found = []
    for number, folder in round_folders(run):
        found.append(Responses(number, False, folder))
        found.append(Responses(number, True, folder / "evaluation"))
    tables = [table for table in found if table.parts("responses")]
    if not tables:
        raise UserError(f"{run}: no responses lie below it; name a run's folder, e.g. runs/demo, "
                        "once a round has sampled")  # fmt: skip
    return sorted(tables, key=lambda table: (table.round, table.held_out))


def _parts(folder: Path) -> list[Path]:
    """As contracts.tables.parts has them, without pyarrow, whose import takes half a second."""
    return sorted(folder.glob("part-*.parquet"))


def prompts_of(run: Path) -> list[str]:
    """The parts of the run's prompts."""
    return [str(part) for part in _parts(run / "prompts")]


def objectives_of(run: Path) -> dict[str, list[str]]:
    """Each annotator's names of its objectives, as the stages that scored have told them."""
    names: dict[str, list[str]] = {}
    for path in sorted(run.glob("round-*/**/scores/_manifest.json")):
        try:
            annotators = json.loads(path.read_text())["facts"]["annotators"]
        except (ValueError, KeyError, TypeError):  # `onpolicy inspect` tells of damage
            continue
        names |= {name: told.get("objectives") or [] for name, told in annotators.items()}
    return names

"""Finished samples and failures on disk until their part is whole."""

from pathlib import Path
from typing import Any

from contracts import journal
from generation.requests import Failure, Outcome, Sample


class Journal(journal.Journal[Outcome]):
    """The journal of a folder of responses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / ".journal.jsonl", _outcome)

    def read(self) -> dict[str, Outcome]:
        """The whole outcomes in the journal, by response id."""
        return {outcome.response_id: outcome for outcome in self.records()}


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Failure(**fields) if "error" in fields else Sample(**fields)

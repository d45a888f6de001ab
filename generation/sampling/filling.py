"""Parts filled: samples drawn, written, and the requests that have none told."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import OnPolicyError
from contracts.tables.parts import write_part
from contracts.tables.schemas import RESPONSES
from generation.engines import Engine
from generation.engines.requests import Failure, Outcome, Request
from generation.sampling.journal import Journals
from generation.sampling.scheduler import Parts, Stream
from generation.sampling.tables import ERRORS_NAME, Writer, write_errors
from runtime.progress import Progress


class Tally:
    """What a run has drawn, and what failed in it."""

    def __init__(self, allowed: int) -> None:
        """
        Args:
            allowed: requests that may fail.
        """
        self.tokens = 0
        self.failures: list[tuple[Request, Failure]] = []
        self.refused: list[tuple[Request, Failure]] = []
        """Later turns that cannot be asked: trying again would not help, so none is a failure."""
        self._allowed = allowed

    def count(self, drawn: Sequence[tuple[Request, Outcome]]) -> None:
        """Add outcomes to the tally.

        Raises:
            OnPolicyError: more have failed than may.
        """
        for request, outcome in drawn:
            if isinstance(outcome, Failure) and request.refusal:
                self.refused.append((request, outcome))
            elif isinstance(outcome, Failure):
                self.failures.append((request, outcome))
            else:
                self.tokens += len(outcome.tokens)
        if len(self.failures) > self._allowed:
            raise OnPolicyError(self._too_many())

    def write(self, out: Path, dropped: Counter[str]) -> None:
        """Write `_errors.parquet`, and count in `dropped` what has no response."""
        write_errors(out, [*self.failures, *self.refused])
        dropped["sampling_error"] = len(self.failures)
        dropped.update(request.refusal.reason for request, _ in self.refused if request.refusal)

    def _too_many(self) -> str:
        _, first = self.failures[0]
        return (
            f"{len(self.failures)} requests have failed, more than sampling.engine.resources."
            f"max_error_share admits; the first is {first.response_id}: {first.error}. "
            f"{ERRORS_NAME} tells all of them. The same command tries them again; raise the share "
            "to go on without them"
        )


def fill(
    parts: Parts,
    engine: Engine,
    journals: Journals,
    out: Path,
    writer: Writer,
    tally: Tally,
    progress: Progress,
) -> None:
    """Draw what is missing in the parts and write them.

    Raises:
        OnPolicyError: more requests failed than `max_error_share` allows.
    """
    with journals:
        for drawn, finished in Stream(parts, engine, journals, progress).run():
            for part in finished:
                table = writer.table(list(part.requests.values()), part.outcomes)
                write_part(out, part.index, table, RESPONSES)
                journals.remove(part.index)
            tally.count(drawn)

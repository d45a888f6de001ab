"""What a run was made by: machine, command, revision, packages, and the way to make it again."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contracts.steps.manifest import Manifest
from flows.pipeline.folder.progress import START
from flows.pipeline.folder.recorded import NAME, recorded_keys


@dataclass(frozen=True)
class Provenance:
    """Where, when and from what a whole run was made; empty where that is not known."""

    host: str
    command: str
    """That started it last; a schedule's is none that could be typed."""
    began: str
    ended: str
    revisions: Sequence[str]
    """Of the checkout, those of all steps, in time."""
    versions: Sequence[tuple[str, str]]
    """Package and all versions that made a step."""
    commits: Sequence[tuple[str, str]]
    """Of models and datasets on the hub."""
    repeat: Sequence[str]
    """Commands that make the run again, from its folder alone."""

    @property
    def is_dirty(self) -> bool:
        """Whether files of the checkout differed from its revision."""
        return any(revision.endswith("+") for revision in self.revisions)


def provenance(run: Path, manifests: Sequence[Manifest]) -> Provenance:
    """Read from the run's folder alone."""
    started = _started(run)
    own = [made for made in manifests if not made.taken_from]
    in_time = sorted(manifests, key=lambda made: made.started)
    revisions = list(dict.fromkeys(made.revision for made in in_time if made.revision))
    commits = recorded_keys(run).get("commits") or {}
    return Provenance(
        host=started.get("host", ""),
        command=started.get("command", ""),
        began=_day(min((made.started for made in own), default=None)),
        ended=_day(max((made.started + made.seconds for made in own), default=None)),
        revisions=revisions,
        versions=_versions(manifests),
        commits=sorted(commits.items()),
        repeat=_repeat(run, revisions),
    )


def _repeat(run: Path, revisions: Sequence[str]) -> list[str]:
    """A run's `config.yaml` holds its date and each commit, so that it reads the same inputs."""
    checkout = [f"git checkout {revisions[-1].rstrip('+')}"] if revisions else []
    name = run.resolve().name
    config = shlex.quote(f"{run.resolve().parent.name}/{name}/{NAME}")
    return [*checkout, f"onpolicy run {config} name={shlex.quote(f'{name}-again')}"]


def _versions(manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    seen: dict[str, dict[str, None]] = {}
    for made in manifests:
        for name, version in made.versions.items():
            seen.setdefault(name, {})[version] = None
    return [(name, ", ".join(found)) for name, found in sorted(seen.items())]


def _started(run: Path) -> dict[str, Any]:
    """What `.start.json` tells; nothing where it is missing or damaged."""
    try:
        told = json.loads((run / START).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _day(moment: float | None) -> str:
    return "" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"

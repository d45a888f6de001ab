"""When the steps of a finished run were at work, by its files' times."""

from pathlib import Path


def spans(folder: Path) -> dict[str, tuple[float, float]]:
    """Each finished step below a folder: when it was claimed and when it was done, in order."""
    found = {
        str(path.parent.relative_to(folder)): (
            (path.parent / "_step.json").stat().st_mtime,
            path.stat().st_mtime,
        )
        for path in folder.rglob("_manifest.json")
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))

"""A stage's files by their names and sizes, which tell at once whether it is as it was left.

It imports nothing but the standard library, for `onpolicy status`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path


def names_of(folder: Path) -> list[str]:
    """The output files in a folder; bookkeeping and hidden files left out."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in ("_step.json", "_manifest.json", "README.md")
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of each output file in a folder, the same files as in `names_of`."""
    return {name: (folder / name).stat().st_size for name in names_of(folder)}


def changed_files(folder: Path, files: Iterable[str], sizes: Mapping[str, int]) -> list[str]:
    """Which of a finished stage's files are gone or have another size: `x is gone`, a line each."""
    sizes_now = sizes_of(folder)
    gone = [f"{name} is gone" for name in files if name not in sizes_now]
    cut = [
        f"{name} was {size:,} bytes when the stage finished, is {sizes_now[name]:,} now"
        for name, size in sizes.items()
        if sizes_now.get(name, size) != size
    ]
    return gone + cut


def damage(folder: Path, files: Iterable[str], sizes: Mapping[str, int]) -> list[str]:
    """Which files of a finished step are gone or cut, its record among them, a line each."""
    lost = [] if (folder / "_step.json").exists() else ["_step.json is gone"]
    return lost + changed_files(folder, files, sizes)

"""Packages as an installer leaves them: modules beside a dist-info, in a folder on the path."""

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, name: str, entry_points: Mapping[str, str], modules: Mapping[str, str],
    version: str = "1.0",
) -> None:  # fmt: skip
    """
    Args:
        entry_points: `GROUP:NAME` to `MODULE:CLASS`.
        modules: name to source.
    """
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for point, value in entry_points.items():
        group, _, kind = point.partition(":")
        lines.append(f"[{group}]\n{kind} = {value}\n")
    (info / "entry_points.txt").write_text("\n".join(lines))

"""What `onpolicy tune` is pointed at: a run, one of its rounds, or a config."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.config.base import apply_overrides, check
from contracts.errors import UserError
from contracts.steps.manifest import read_manifest
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.folder.rounds import round_folders
from flows.pipeline.load_run import load_run


@dataclass(frozen=True)
class Source:
    """A round whose pairs are trained on, and how."""

    run: RunConfig
    """The run as it is, in its own folder."""
    training: list[str]
    """Overrides of its training alone; the run's stages stay what they are."""
    round: int

    @property
    def changed(self) -> RunConfig:
        """The run's config with those overrides."""
        data = apply_overrides(self.run.model_dump(mode="json"), self.training)
        return check(RunConfig, data, origin=", ".join(self.training) or str(self.run.folder))

    @property
    def pairs(self) -> int | None:
        """Rows of the round's tokens, if they are made."""
        tokens = self.run.folder / f"round-{self.round}" / "tokens"
        manifest = read_manifest(tokens)
        return manifest.rows if manifest else None


def read_source(path: Path, overrides: Sequence[str]) -> Source:
    """Find the round: a config's first, a run's last one with tokens, or the one named.

    Raises:
        UserError: it is none of these, or an override is not of the training.
    """
    training = [override for override in overrides if override.startswith("training.")]
    others = [override for override in overrides if override not in training]
    if path.is_file():
        return Source(load_run(path, others), training, 1)
    run, number = _folder(path)
    if others:
        raise UserError(f"{others[0]}: the pairs of {run} are made; only training.* can change")
    config = recorded(run)
    assert config is not None
    config = config.model_copy(update={"runs_dir": run.parent, "name": run.name})
    number = number or _last_with_tokens(run)
    if not 1 <= number <= config.rounds:
        raise UserError(f"{path}: the run has rounds 1 to {config.rounds}")
    return Source(config, training, number)


def _folder(path: Path) -> tuple[Path, int | None]:
    """The run's folder, and the round where the path names one."""
    if (path / "config.yaml").is_file():
        return path, None
    name, _, number = path.name.partition("-")
    if name == "round" and number.isdecimal() and (path.parent / "config.yaml").is_file():
        return path.parent, int(number)
    raise UserError(
        f"{path}: is no run, no round and no config; give e.g. runs/demo, runs/demo/round-1 or "
        "configs/demo.yaml"
    )


def _last_with_tokens(run: Path) -> int:
    numbers = [number for number, path in round_folders(run) if read_manifest(path / "tokens")]
    if not numbers:
        raise UserError(f"{run}: no round has its pairs formatted yet; give the config instead, "
                        "and they are made")  # fmt: skip
    return max(numbers)

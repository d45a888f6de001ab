"""Variants that other packages bring: found where a config is checked, named where they fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packages import install

from annotation.config import ScoreConfig
from contracts.config.base import check, identity
from contracts.errors import UserError
from contracts.steps.inputs import Inputs
from contracts.steps.step import Stage, changes, describe
from training.config import TrainConfig
from training.losses.with_reference.dpo import DPOConfig

GROUP = "onpolicy.losses"
FLAT = """
import sys
from typing import Literal
from training.losses.base import LossInputs, LossVariant, PairLosses, with_rewards

class FlatConfig(LossVariant):
    kind: Literal["flat"] = "flat"
    height: float = 1.0
    steps: tuple[int, ...] = (1,)

    def losses(self, inputs: LossInputs) -> PairLosses:
        policy = inputs.policy
        loss = self.height + 0 * policy.chosen.total
        return with_rewards(loss, 1.0, policy.chosen.total, policy.rejected.total)
"""
STAGE = Stage("test", 1, TrainConfig, Inputs, "", run=lambda *_: None)  # type: ignore


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages installed there are on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flat_loss", raising=False)
    return tmp_path


def flat(folder: Path, name: str = "flat-loss", **changes: str) -> None:
    given = {"point": f"{GROUP}:flat", "value": "flat_loss:FlatConfig", "source": FLAT} | changes
    install(
        folder, name, {given["point"]: given["value"]}, {"flat_loss": given["source"]},
        given.get("version", "1.0"),
    )  # fmt: skip


def trained_with(**loss: object) -> TrainConfig:
    return check(TrainConfig, {"loss": loss}, origin="my.yaml")


def test_a_package_adds_a_kind_with_keys_of_its_own(folder: Path) -> None:
    flat(folder)
    loss = trained_with(kind="flat", height=2, steps=[3, 4]).loss
    assert loss.model_dump() == {"kind": "flat", "height": 2.0, "steps": (3, 4)}


def test_its_wrong_keys_are_told_as_any_others(folder: Path) -> None:
    flat(folder)
    with pytest.raises(UserError, match=r"my.yaml: unknown key 'loss.hieght' \(did you mean 'loss"):
        trained_with(kind="flat", hieght=2)


def test_a_step_survives_its_own_file(folder: Path) -> None:
    flat(folder)
    config = trained_with(kind="flat", height=3)
    step = describe(STAGE, config, {})
    assert step["config"]["loss"] == {"kind": "flat", "height": 3.0, "steps": [1]}
    assert check(TrainConfig, step["config"], origin="_step.json") == config
    assert identity(config)["loss"]["height"] == 3.0


def test_another_version_of_the_package_is_another_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "old").mkdir()
    (folder / "new").mkdir()
    flat(folder / "old")
    flat(folder / "new", version="1.1")
    monkeypatch.syspath_prepend(folder / "old")
    before = describe(STAGE, trained_with(kind="flat"), {})
    monkeypatch.setattr(sys, "path", [str(folder / "new"), *sys.path[1:]])
    monkeypatch.delitem(sys.modules, "flat_loss")
    after = describe(STAGE, trained_with(kind="flat"), {})
    expected = "package of kind flat: was 'flat-loss 1.0', now 'flat-loss 1.1'"
    assert changes(STAGE, before, after) == [expected]


def test_a_built_in_kind_names_no_package(folder: Path) -> None:
    flat(folder)
    assert "here" not in describe(STAGE, trained_with(kind="dpo"), {})["identity"]
    assert "flat_loss" not in sys.modules  # and no package is imported for it


def test_a_kind_alone_is_that_variant_with_its_defaults() -> None:
    assert check(TrainConfig, {"loss": "dpo"}, origin="my.yaml").loss == DPOConfig()


def test_an_editor_is_told_that_a_kind_alone_will_do() -> None:
    schema = TrainConfig.model_json_schema()["properties"]["loss"]
    assert "dpo" in schema["anyOf"][1]["enum"]
    assert {"$ref": "#/$defs/DPOConfig"} in schema["anyOf"][0]["oneOf"]
    annotators = ScoreConfig.model_json_schema()["properties"]["annotators"]["items"]
    assert "anyOf" not in annotators  # each needs a name


def test_an_unknown_kind_is_told_with_those_that_packages_add(folder: Path) -> None:
    flat(folder)
    with pytest.raises(UserError, match=r"'loss.kind': should be one of 'simpo'.*'flat', not 'x'"):
        trained_with(kind="x")


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ({"point": f"{GROUP}:dpo"}, "package flat-loss 1.0: .* has the kind 'dpo', which is built"),
        ({"value": "flat_loss:Flot"}, "package flat-loss 1.0: .* cannot be loaded: AttributeError"),
        ({"source": "1/0"}, "package flat-loss 1.0: .* cannot be loaded: ZeroDivisionError"),
        ({"source": "class FlatConfig: pass"}, "package flat-loss 1.0: .* no subclass of training"),
        ({"source": FLAT.replace('"flat"', '"fleet"')}, "flat-loss 1.0: .* its class must have"),
    ],
)
def test_a_broken_package_is_named(folder: Path, package: dict[str, str], message: str) -> None:
    flat(folder, **package)
    with pytest.raises(UserError, match=message):
        trained_with(kind="flat")


def test_two_packages_with_one_kind_are_both_named(folder: Path) -> None:
    flat(folder)
    flat(folder, name="also-flat")
    with pytest.raises(UserError, match=r"have the same kind 'flat'; uninstall one"):
        trained_with(kind="flat")


def test_configs_are_read_without_torch_prefect_or_the_packages() -> None:
    code = (
        "import sys, flows.pipeline.config, contracts.config.variants as v; print(sorted("
        "{'torch', 'vllm', 'prefect', 'transformers'} & sys.modules.keys()), v._added.cache_info())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert run.stdout.startswith("[] CacheInfo(hits=0, misses=0")

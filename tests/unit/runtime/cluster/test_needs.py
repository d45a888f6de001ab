"""What a node lacks of what machine 0 has."""

import json
from pathlib import Path
from typing import Any

import pytest
from packages import install

from contracts.config import variants
from contracts.steps import manifest
from contracts.steps.manifest import Result, write_manifest
from runtime.cluster import needs
from runtime.cluster.needs import needs_of, unmet


def lacking(said: dict[str, Any]) -> list[str]:
    return list(json.loads(unmet(json.dumps(said)))["faults"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_node_like_machine_0_lacks_nothing(model: Path) -> None:
    said = needs_of([str(model), "owner/name@main", ""], [model / "config.json"])
    assert said["models"] == ["owner/name@main"]
    assert lacking(said) == []


def test_a_node_with_other_packages_is_told_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = needs_of([], [])
    theirs = manifest.versions() | {"torch": "2.1.0"}
    monkeypatch.setattr(needs, "versions", lambda: theirs)
    (told,) = lacking(said)
    assert told.startswith(f"has torch 2.1.0 where machine 0 has {said['versions']['torch']}: ")
    monkeypatch.setattr(needs, "versions", lambda: {})
    assert "has torch none where machine 0 has" in "\n".join(lacking(said))


def test_a_node_with_other_sources_another_ray_or_another_variant_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "our-scorer", {}, {})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(variants.PACKAGES, Result, "our-scorer 1.0")  # type: ignore[arg-type]
    said = needs_of([], [])
    assert lacking(said) == []
    said["versions"] |= {"our-scorer": "1.1", "ray": "2.1.0", "onpolicy": "0123456789ab"}
    told = "\n".join(lacking(said))
    for name in ("onpolicy", "our-scorer 1.0", "ray"):
        assert f"has {name}" in told
    assert len(told.splitlines()) == 3


@pytest.mark.parametrize("made_by_a_stage", [False, True])
def test_a_model_that_a_node_lacks_or_has_otherwise_is_named(
    model: Path, made_by_a_stage: bool
) -> None:
    if made_by_a_stage:
        write_manifest(model, "train", Result(0), 0.0)
    said = needs_of([str(model)], [])
    assert lacking(said) == []
    (model / "model.safetensors").write_bytes(b"other weights")
    assert lacking(said)[0].startswith(f"has another {model} than machine 0; put models and the")
    for file in model.iterdir():
        file.unlink()
    model.rmdir()
    assert lacking(said)[0].startswith(f"lacks {model}; put models and the run's")


def test_an_adapter_whose_base_is_named_from_the_folder_of_machine_0_is_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "./model"}')
    monkeypatch.chdir(tmp_path)
    said = needs_of([str(adapter)], [])
    monkeypatch.chdir("/")
    assert lacking(said) == []
    (model / "model.safetensors").write_bytes(b"other weights")
    assert lacking(said)[0].startswith(f"has another {adapter} than machine 0")

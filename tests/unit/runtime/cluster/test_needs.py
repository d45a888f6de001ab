"""What a node lacks of what machine 0 has."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.cluster import needs
from runtime.cluster.needs import needs_of, unmet


def lacking(said: dict[str, Any]) -> list[str]:
    return list(json.loads(unmet(json.dumps(said))))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_a_node_like_machine_0_lacks_nothing(model: Path) -> None:
    said = needs_of([str(model), "owner/name@main", ""], [model / "config.json"])
    assert said["models"] == ["owner/name@main"]
    assert lacking(said) == []


def test_a_node_with_other_packages_is_told_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = needs_of([], [])
    theirs = said["versions"] | {"torch": "2.1.0"}
    monkeypatch.setattr(needs, "versions", lambda: theirs)
    (told,) = lacking(said)
    assert told.startswith(f"has torch 2.1.0 where machine 0 has {said['versions']['torch']}: ")
    monkeypatch.setattr(needs, "versions", lambda: {})
    assert "has torch none where machine 0 has" in "\n".join(lacking(said))


def test_a_model_that_a_node_lacks_or_has_otherwise_is_named(model: Path) -> None:
    said = needs_of([str(model)], [])
    (model / "config.json").write_text('{"other": 1}')
    assert lacking(said)[0].startswith(f"has another {model}/config.json than machine 0; put")
    (model / "config.json").unlink()
    assert lacking(said)[0].startswith(f"lacks {model}/config.json; put models and the run's")

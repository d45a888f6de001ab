"""How a node without a model's folder comes by the model, without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.models.copies import located
from runtime.cluster.models import bring_models, delivered
from runtime.cluster.needs import needs_of, unmet


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is named from machine 0's folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    return folder


def told(needs: dict[str, Any]) -> dict[str, list[str]]:
    return dict(json.loads(unmet(json.dumps(needs))))


def on_a_node(model: Path) -> Path:
    """From here on this process sees what one on another machine does."""
    return model.rename(model.with_name("only on machine 0"))


def test_a_model_that_a_node_lacks_is_fetched_from_the_store_and_found_there(
    store: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = needs_of(["./model"], [], store)
    assert (told(needs), bring_models(needs)) == ({"faults": [], "lacking": []}, {})
    hidden = on_a_node(model)
    lacking = told(needs)["lacking"]
    assert (told(needs)["faults"], lacking) == ([], [str(model)])
    hidden.rename(model)
    needs = delivered(needs, lacking)
    on_a_node(model)
    for name, value in bring_models(json.loads(json.dumps(needs))).items():
        monkeypatch.setenv(name, value)
    assert Path(located("./model"), "model.safetensors").read_bytes() == b"weights"


def test_without_a_store_a_node_that_lacks_a_model_is_told_the_ways_out(model: Path) -> None:
    needs = needs_of([str(model)], [])
    on_a_node(model)
    (fault,) = told(needs)["faults"]
    assert fault == (
        f"lacks {model}; put models and the run's folder where all nodes see them under the same "
        "path; or name a model by its hub id, or set resources.store, from which nodes fetch models"
    )


def test_a_node_that_cannot_use_the_store_is_told_why(store: str, model: Path) -> None:
    needs = needs_of([str(model)], [], f"{store}/that is not there")
    on_a_node(model)
    (fault,) = told(needs)["faults"]
    assert fault.startswith(f"lacks {model}, and cannot fetch it: {store}/that is not there")
    assert fault.endswith("a store's credentials are set on each node")


def test_a_file_that_a_node_lacks_comes_from_no_store(store: str, model: Path) -> None:
    needs = needs_of([], [model / "config.json"], store)
    on_a_node(model)
    assert told(needs)["faults"][0].startswith(f"lacks {model}/config.json; put models and the")

"""A model on the hub lies on this machine before a worker begins to load it."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants
from small_hub import SmallHub

from contracts.errors import UserError
from contracts.models.fetch import fetch_models
from contracts.models.model import local_folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallHub:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return SmallHub()


@contextmanager
def serving(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What HF_ENDPOINT would do before huggingface_hub is imported."""
    template = f"{{}}{constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)}"
    with hub.serve() as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace("{}", endpoint, 1)
        )
        yield


@pytest.fixture
def published(tmp_path: Path, tiny_gemma: Path) -> Path:
    """A model with what is never read beside it: pickles, code, other layouts."""
    folder = tmp_path / "published"
    shutil.copytree(tiny_gemma, folder)
    (folder / "original").mkdir()
    for name in ("pytorch_model.bin", "optimizer.pt", "modeling.py", "README.md",
                 "consolidated.safetensors", "original/model.safetensors"):  # fmt: skip
        (folder / name).write_bytes(b"not for us")
    return folder


def test_what_loaders_read_is_downloaded_once_and_its_size_told(
    hub: SmallHub, published: Path, tiny_gemma: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    reference = f"owner/policy@{hub.push('owner/policy', published)}"
    with serving(hub, monkeypatch):
        fetch_models([reference, reference])
        asked = len(hub.asked)
        fetch_models([reference])
    assert len(hub.asked) == asked
    found = local_folder(reference)
    assert found and {path.name for path in found.iterdir()} == {
        path.name for path in tiny_gemma.iterdir()
    }
    size = sum(path.stat().st_size for path in tiny_gemma.iterdir()) / 1e9
    count = len(list(tiny_gemma.iterdir()))
    assert f"downloading {reference}: {count} files, {size:.3g} GB" in caplog.text


def test_a_download_that_was_cut_goes_on_with_what_is_lacking(
    hub: SmallHub, published: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    reference = f"owner/policy@{hub.push('owner/policy', published)}"
    with serving(hub, monkeypatch):
        fetch_models([reference])
        folder = local_folder(reference)
        assert folder
        (folder / "model.safetensors").resolve().unlink()
        (folder / "model.safetensors").unlink()
        assert local_folder(reference) is None
        fetch_models([reference])
    assert local_folder(reference) == folder
    lines = [record.message for record in caplog.records if "downloading" in record.message]
    assert "1 files" in lines[1], lines


def test_a_folder_and_a_machine_told_to_be_offline_ask_nothing_of_the_hub(
    hub: SmallHub, tiny_gemma: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(hub, monkeypatch):
        fetch_models([str(tiny_gemma)])
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        fetch_models(["owner/policy"])
    assert not hub.asked


def test_a_model_that_the_hub_does_not_hold_is_named(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "owner/none: no model on the hub for us: 404"
    with serving(hub, monkeypatch), pytest.raises(UserError, match=told):
        fetch_models(["owner/none"])

"""A model that is not there, or of another kind, is told in one sentence and at once."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from contracts.errors import UserError
from contracts.models.hub import model_file
from contracts.models.model import load_tokenizer
from generation.sources.columns import read_column

NONE = (
    r"no tokenizer lies there; put the model's tokenizer\.json \(or tokenizer\.model\) and "
    r"tokenizer_config\.json into that folder$"
)
SPECIAL = json.loads(Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str()) | {
    "added_tokens": [{"id": 0, "content": "[UNK]", "special": True, "single_word": False,
                      "lstrip": False, "rstrip": False, "normalized": False}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, NONE),
        ({"config.json": {"model_type": "gemma2"}}, NONE),
        ({"config.json": {"model_type": "bert"}, "tokenizer_config.json": {}}, NONE),
        (
            {"config.json": {"model_type": "bert"}, "tokenizer.json": SPECIAL},
            "its tokenizer holds special tokens alone",
        ),
        ({"tokenizer.json": {}, "config.json": {}}, "its tokenizer cannot be loaded: .+"),
    ],
)
def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path, files: dict, said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^{tmp_path}: {said}"):
        load_tokenizer(str(tmp_path))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: no such folder$"):
        load_tokenizer(str(tmp_path / "gone"))


def test_a_hub_that_cannot_be_reached_is_asked_once_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By themselves the loaders of tokenizers and datasets try for 28 to 84 s."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    pinned = f"owner/name@{'a' * 40}"
    for ask in (
        lambda: load_tokenizer(pinned),
        lambda: model_file(pinned, "config.json"),
        lambda: list(read_column("owner/prompts", ["prompt"])),
    ):
        with pytest.raises(UserError, match=r"the hub cannot be reached: .*; with HF_HUB_OFFLINE="):
            ask()

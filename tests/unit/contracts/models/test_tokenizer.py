"""What is read of a model without torch is what transformers would have given, with it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from contracts.errors import UserError
from contracts.models.model import load_tokenizer, read_end_tokens, read_positions

TOKENIZE = """
import sys
from contracts.chat import ChatFormat
from contracts.models.model import load_tokenizer, read_end_tokens, read_positions
ChatFormat(load_tokenizer(sys.argv[1])).prompt_ids([{"role": "user", "content": "question"}])
read_positions(sys.argv[1]), read_end_tokens(sys.argv[1])
print("torch" in sys.modules)
"""


@pytest.fixture
def model(tmp_path: Path, tiny_gemma: Path) -> Path:
    """The tiny model, whose files a test may change."""
    return Path(shutil.copytree(tiny_gemma, tmp_path / "model"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_prompt_is_tokenised_without_torch(tiny_gemma: Path) -> None:
    output = subprocess.check_output([sys.executable, "-c", TOKENIZE, tiny_gemma], text=True)
    assert output.split() == ["False"]


@pytest.mark.parametrize("family", ["gemma", "gemma2", "llama"])
@pytest.mark.parametrize("kind", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_it_is_the_tokenizer_that_transformers_would_have_chosen(
    model: Path, family: str, kind: str
) -> None:
    change(model / "config.json", model_type=family)
    change(model / "tokenizer_config.json", tokenizer_class=kind)
    ours, theirs = load_tokenizer(str(model)), AutoTokenizer.from_pretrained(model)
    assert type(ours) is type(theirs)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.init_kwargs == theirs.init_kwargs
    assert ours.chat_template == theirs.chat_template


@pytest.mark.parametrize("family", ["gemma2", "qwen2"])
def test_positions_and_end_tokens_are_those_of_the_models_files(model: Path, family: str) -> None:
    change(model / "config.json", model_type=family, max_position_embeddings=384)
    assert read_positions(str(model)) == 384
    assert read_positions(str(model)) == AutoConfig.from_pretrained(model).max_position_embeddings
    change(model / "generation_config.json", eos_token_id=[4, 1])
    assert read_end_tokens(str(model)) == {1, 4}
    change(model / "generation_config.json", eos_token_id=4)
    assert read_end_tokens(str(model)) == {4}
    (model / "generation_config.json").unlink()
    assert read_end_tokens(str(model)) == set()


def test_a_family_that_leaves_its_positions_out_has_its_default(model: Path) -> None:
    settings = json.loads((model / "config.json").read_text())
    del settings["max_position_embeddings"]
    (model / "config.json").write_text(json.dumps(settings))
    assert read_positions(str(model)) == 8192  # Gemma-2's


def test_a_config_that_is_no_json_is_refused_by_name(model: Path) -> None:
    (model / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"model: its config cannot be loaded: .*config\.json"):
        read_positions(str(model))

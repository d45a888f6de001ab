"""A model's safetensors are looked at before anything loads them; the tiny Gemma-2 of the tests."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import UserError
from contracts.models.weights import read_weights, refuse_other_weights


@pytest.fixture
def model(tiny_gemma: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_gemma, tmp_path / "model"))


def change(model: Path, **tensors: torch.Tensor | None) -> None:
    """Save the weights anew with these in place of their own; None leaves one out."""
    weights = load_file(model / "model.safetensors") | tensors
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, model / "model.safetensors", {"format": "pt"})


def split(model: Path) -> tuple[Path, Path]:
    """Lay the weights out as two shards and their index."""
    weights = load_file(model / "model.safetensors")
    names = sorted(weights)
    shards = model / "model-00001-of-00002.safetensors", model / "model-00002-of-00002.safetensors"
    for shard, own in zip(shards, (names[::2], names[1::2]), strict=True):
        save_file({name: weights[name] for name in own}, shard, {"format": "pt"})
    places = {name: shards[i % 2].name for i, name in enumerate(names)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (model / "model.safetensors").unlink()
    return shards


def test_a_whole_model_passes_and_its_size_is_known(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    found = refuse_other_weights(str(model))
    assert found and found.parameters == sum(tensor.numel() for tensor in weights.values())
    split(model)
    again = refuse_other_weights(str(model))
    assert again and again.shapes == found.shapes


def test_missing_unknown_and_misshaped_tensors_are_named_all_at_once(model: Path) -> None:
    wide = torch.zeros(3, 5)
    change(model, **{"model.norm.weight": None, "value_head.weight": wide,
                     "model.layers.1.mlp.up_proj.weight": wide.clone()})  # fmt: skip
    with pytest.raises(UserError) as refused:
        refuse_other_weights(str(model))
    assert str(refused.value) == (
        f"{model}: its weights are not what its config.json asks for: missing: model.norm.weight; "
        "of another shape: model.layers.1.mlp.up_proj.weight [3, 5] instead of [128, 64]; "
        "unknown: value_head.weight. Copy or download the model anew, or mend its config.json"
    )


def test_a_tied_head_and_what_is_computed_anyway_may_be_there(model: Path) -> None:
    vocabulary = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    change(model, **{"lm_head.weight": vocabulary.clone(),
                     "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)})  # fmt: skip
    refuse_other_weights(str(model))


def test_a_head_of_its_own_under_a_config_that_ties_it_is_refused(model: Path) -> None:
    """transformers would take the head, vLLM the embedding."""
    head = load_file(model / "model.safetensors")["model.embed_tokens.weight"].clone()
    head[-1, -1] += 1
    change(model, **{"lm_head.weight": head})
    with pytest.raises(UserError, match=r"lm_head\.weight is not model\.embed_tokens.* ties them"):
        refuse_other_weights(str(model))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    refuse_other_weights(str(model))


def test_a_cut_file_is_named_with_its_bytes(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: has [\d,]+ bytes instead of [\d,]+;"):
        refuse_other_weights(str(model))


@pytest.mark.parametrize("left", [0, 5, 60])
def test_a_file_without_its_header_is_named(model: Path, left: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"model\.safetensors: is no whole safetensors file"):
        refuse_other_weights(str(model))


def test_a_shard_that_is_missing_is_named(model: Path) -> None:
    _, second = split(model)
    second.unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors: is missing"):
        refuse_other_weights(str(model))


def test_files_of_which_loaders_would_read_different_ones_are_refused(model: Path) -> None:
    shutil.copy(model / "model.safetensors", model / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors: lies beside model\.safetensors"):
        read_weights(model)


def test_other_weights_than_safetensors_are_not_read(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no \*\.safetensors; weights of other kinds"):
        refuse_other_weights(str(model))


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*\.safetensors"):
        refuse_other_weights(str(tmp_path))


def test_of_a_hub_id_that_was_never_downloaded_nothing_is_known() -> None:
    assert refuse_other_weights("nobody/nothing-at-all") is None


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "LlamaForRewardModelWithGating"])
def test_a_model_that_writes_no_text_is_no_policy(model: Path, architecture: str) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": [architecture]}))
    with pytest.raises(
        UserError, match=f"is of type {architecture} .* a policy is a causal language"
    ):
        refuse_other_weights(str(model))

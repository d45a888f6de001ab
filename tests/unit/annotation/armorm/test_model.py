"""ArmoRM against a plain implementation written here, from the published tensor names."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.armorm.model import load_armorm
from annotation.armorm.scorer import last_occurrence, open_armorm
from annotation.scorers.heads import OBJECTIVES, objective_names
from annotation.scorers.protocol import Conversation

HIDDEN, LAYERS, HEADS, KV_HEADS, OBJECTIVE_COUNT = 64, 2, 4, 2, 19
CONFIG = {
    "architectures": ["LlamaForRewardModelWithGating"],
    "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.Refused"},
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 512,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "num_objectives": OBJECTIVE_COUNT,
    "gating_temperature": 10,
    "gating_hidden_dim": 24,
    "gating_n_hidden": 3,
    "torch_dtype": "float32",
}
# FlexAttention says on a CPU that it is slow uncompiled; here it is only to be right.
LAYOUTS = [
    "shared",
    pytest.param("packed", marks=pytest.mark.filterwarnings("ignore:flex_attention called")),
    "padded",
]
CONVERSATIONS = [
    Conversation(
        [{"role": "user", "content": "Name three red animals."}], ["A crab.", "Fox and", "é"]
    ),
    Conversation(
        [
            {"role": "user", "content": "What is 2+2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "And a longer question, " * 4},
        ],
        ["8", "I do not know, but here is a rather long answer. " * 5],
    ),
    Conversation([{"role": "user", "content": "Hi"}], ["Hello there!"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_llama_tokenizer) -> Path:
    """Random weights under the published names, in safetensors."""
    path = tmp_path_factory.mktemp("armorm")
    tiny_llama_tokenizer.save_pretrained(path)
    vocabulary = len(tiny_llama_tokenizer)
    pad = tiny_llama_tokenizer.pad_token_id
    (path / "config.json").write_text(
        json.dumps({**CONFIG, "vocab_size": vocabulary, "pad_token_id": pad})
    )
    save_file(random_weights(vocabulary), path / "model.safetensors", metadata={"format": "pt"})
    return path


def random_weights(vocabulary: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int, std: float = 0.15) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    head_dim = HIDDEN // HEADS
    weights = {
        "model.embed_tokens.weight": normal(vocabulary, HIDDEN, std=1.0),
        "model.norm.weight": 1 + normal(HIDDEN),
        "regression_layer.weight": normal(OBJECTIVE_COUNT, HIDDEN),
        "reward_transform_matrix": normal(OBJECTIVE_COUNT, OBJECTIVE_COUNT),
        "gating.logit_scale": torch.tensor([1.3]),
    }
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        weights |= {
            f"{layer}.self_attn.q_proj.weight": normal(HIDDEN, HIDDEN),
            f"{layer}.self_attn.k_proj.weight": normal(KV_HEADS * head_dim, HIDDEN),
            f"{layer}.self_attn.v_proj.weight": normal(KV_HEADS * head_dim, HIDDEN),
            f"{layer}.self_attn.o_proj.weight": normal(HIDDEN, HIDDEN),
            f"{layer}.mlp.gate_proj.weight": normal(96, HIDDEN),
            f"{layer}.mlp.up_proj.weight": normal(96, HIDDEN),
            f"{layer}.mlp.down_proj.weight": normal(HIDDEN, 96),
            f"{layer}.input_layernorm.weight": 1 + normal(HIDDEN),
            f"{layer}.post_attention_layernorm.weight": 1 + normal(HIDDEN),
        }
    sizes = [HIDDEN, 24, 24, 24, OBJECTIVE_COUNT]
    for i in range(4):
        weights[f"gating.layers.{i}.weight"] = normal(sizes[i + 1], sizes[i], std=1.0)
        weights[f"gating.layers.{i}.bias"] = normal(sizes[i + 1], std=1.0)
    return weights


Plain = tuple[float, list[float], list[float]]
"""Score, objectives, gating."""


def plain_hidden(w: dict[str, Tensor], ids: list[int]) -> Tensor:
    """A Llama forward in float64, one conversation: [T, D]."""

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[name]

    head_dim, length = HIDDEN // HEADS, len(ids)
    frequencies = 500000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]

    def rotate(x: Tensor) -> Tensor:
        real, imaginary = x.chunk(2, dim=-1)
        turned = torch.complex(real, imaginary) * turn
        return torch.cat([turned.real, turned.imag], dim=-1)

    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        name = f"model.layers.{i}"
        y = norm(x, f"{name}.input_layernorm.weight")
        q = rotate((y @ w[f"{name}.self_attn.q_proj.weight"].T).view(length, HEADS, head_dim))
        k = rotate((y @ w[f"{name}.self_attn.k_proj.weight"].T).view(length, KV_HEADS, head_dim))
        v = (y @ w[f"{name}.self_attn.v_proj.weight"].T).view(length, KV_HEADS, head_dim)
        heads = []
        for h in range(HEADS):
            kv = h // (HEADS // KV_HEADS)
            logits = q[:, h] @ k[:, kv].T / math.sqrt(head_dim)
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            heads.append(logits.masked_fill(future, -torch.inf).softmax(-1) @ v[:, kv])
        x = x + torch.cat(heads, dim=-1) @ w[f"{name}.self_attn.o_proj.weight"].T
        y = norm(x, f"{name}.post_attention_layernorm.weight")
        up = y @ w[f"{name}.mlp.up_proj.weight"].T
        gate = y @ w[f"{name}.mlp.gate_proj.weight"].T
        x = x + (gate * gate.sigmoid() * up) @ w[f"{name}.mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight")


def plain_score(folder: Path, ids: list[int], header: list[int]) -> Plain:
    """The recipe's section 3, one conversation at a time."""
    w = {name: value.double() for name, value in load_file(folder / "model.safetensors").items()}
    hidden = plain_hidden(w, ids)
    starts = [i for i in range(len(ids)) if ids[i : i + len(header)] == header]
    rewards = hidden[-1] @ w["regression_layer.weight"].T
    gate = hidden[starts[-1]]
    for i in range(4):
        gate = gate @ w[f"gating.layers.{i}.weight"].T + w[f"gating.layers.{i}.bias"]
        gate = gate.clamp(min=0) if i < 3 else gate
    gate = (gate / 10).softmax(-1) * w["gating.logit_scale"]
    score = float((gate * (rewards @ w["reward_transform_matrix"])).sum())
    return score, rewards.tolist(), gate.tolist()


def expected(folder: Path, tokenizer, conversations) -> list[Plain]:
    found = []
    for conversation in conversations:
        for text in conversation.responses:
            messages = [*conversation.messages, {"role": "assistant", "content": text}]
            ids = tokenizer(
                tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False
            )["input_ids"]
            header = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|start_header_id|>"])
            found.append(plain_score(folder, ids, assistant_header(tokenizer, header)))
    return found


def assistant_header(tokenizer, begin: list[int]) -> list[int]:
    rest = tokenizer("assistant<|end_header_id|>\n\n", add_special_tokens=False)["input_ids"]
    return begin + rest


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_tokens", [1, 120, 500, 100_000])
def test_scores_equal_a_plain_implementation_whatever_the_batches(
    folder, tiny_llama_tokenizer, layout, batch_tokens
):
    resources = ScoreResources(device="cpu", batch_tokens=batch_tokens, layout=layout)
    scorer = open_armorm(ArmoRMConfig(name="a", path=str(folder)), str(folder), resources)
    want = expected(folder, tiny_llama_tokenizer, CONVERSATIONS)
    got = scorer.score(CONVERSATIONS)
    assert [g.score for g in got] == pytest.approx([score for score, *_ in want], abs=1e-5)
    for have, (_, objectives, gating) in zip(got, want, strict=True):
        assert have.objectives == pytest.approx(objectives, abs=1e-5)
        assert have.gating == pytest.approx(gating, abs=1e-5)
    assert len({round(g.score, 4) for g in got}) == len(got)  # the comparison can fail


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_do_not_depend_on_the_order_of_conversations(folder, layout):
    resources = ScoreResources(device="cpu", batch_tokens=300, layout=layout)
    scorer = open_armorm(ArmoRMConfig(name="a", path=str(folder)), str(folder), resources)
    forward = [s.score for s in scorer.score(CONVERSATIONS)]
    turned = [Conversation(c.messages, c.responses[::-1]) for c in CONVERSATIONS[::-1]]
    assert [s.score for s in scorer.score(turned)][::-1] == pytest.approx(forward, abs=1e-5)


def test_the_heads_stay_in_float32_under_a_bfloat16_backbone(folder):
    model = load_armorm(str(folder), torch.device("cpu"), torch.bfloat16)
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    heads = {n: p.dtype for n, p in model.named_parameters() if not n.startswith("model.")}
    assert len(heads) == 11
    assert set(heads.values()) == {torch.float32}


def test_saved_weights_have_the_published_names(folder, tmp_path):
    load_armorm(str(folder), torch.device("cpu"), torch.float32).save_pretrained(tmp_path)
    saved, published = (
        load_file(tmp_path / "model.safetensors"),
        load_file(folder / "model.safetensors"),
    )
    assert saved.keys() == published.keys()
    assert all(torch.equal(saved[name], published[name]) for name in saved)


def test_the_last_occurrence_of_a_pattern_is_found():
    assert last_occurrence([1, 2, 3, 1, 2, 4, 1], [1, 2]) == 3
    assert last_occurrence([1, 2], [1, 2]) == 0
    assert last_occurrence([2, 1], [1, 2]) is None
    assert last_occurrence([1], [1, 2]) is None


def test_objectives_of_another_count_are_numbered():
    assert objective_names(19) == OBJECTIVES
    assert objective_names(2) == ("0", "1")

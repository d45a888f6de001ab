"""Which attention is chosen where, and flash-attn's varlen calls over packed rows."""

import importlib.metadata
import logging
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig

from contracts.config.base import check
from contracts.errors import UserError
from training.config import TrainConfig, TrainResources
from training.packed import attention, attention_choice, flash, flex
from training.packed.attention_choice import attention_of
from training.packed.packing import Pair, make_batch

PAIRS = [
    Pair("a", [1, 2, 3], [4, 5, 6, 7], [8, 9]),
    Pair("b", [1], [2], [3, 4, 5, 6, 7, 8, 9]),
    Pair("c", [*range(9)], [1, 2], []),
]


def varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, query_ends: torch.Tensor,
    key_ends: torch.Tensor, longest_query: int, longest_key: int, *, softmax_scale: float,
    causal: bool, softcap: float, window_size: tuple[int, int],
) -> torch.Tensor:  # fmt: skip
    """What flash-attn documents of `flash_attn_varlen_func`, in plain torch: masks are aligned at
    the ends of queries and keys, and heads of keys are shared by groups of query heads."""
    assert causal
    group, out = query.shape[1] // key.shape[1], torch.empty_like(query)
    lengths = []
    for number in range(len(query_ends) - 1):
        mine = slice(*query_ends[number : number + 2].tolist())
        theirs = slice(*key_ends[number : number + 2].tolist())
        keys, values = (tensor[theirs].repeat_interleave(group, 1) for tensor in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[mine].float(), keys.float()) * softmax_scale
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        rows, columns = scores.shape[1:]
        lengths.append((rows, columns))
        last = torch.arange(rows)[:, None] + columns - rows
        hidden = torch.arange(columns) > last
        if window_size[0] >= 0:
            hidden |= torch.arange(columns) < last - window_size[0]
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        out[mine] = torch.einsum("hqk,khd->qhd", weights, values.float()).to(query.dtype)
    assert (longest_query, longest_key) == tuple(map(max, zip(*lengths, strict=True)))
    return out


@pytest.mark.parametrize("window", [None, 5])
def test_varlen_calls_give_what_attention_pair_by_pair_gives(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = ModuleType("flash_attn")
    kernel.flash_attn_varlen_func = varlen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", kernel)
    torch.manual_seed(0)
    batch = make_batch(PAIRS, "packed", multiple=16)
    length = batch.branch.shape[1]
    states = [torch.randn(1, heads, length, 8).bfloat16() for heads in (4, 2, 2)]
    places = flash.Sequences.of(batch.segments, torch.device("cpu"))
    settings = {"scaling": 0.3, "softcap": 3.0, "sliding_window": window}
    gradients = []
    for function, extra in (
        (flash.flash_attention, {"sequences": places}),
        (attention.segments_attention, {"segments": batch.segments}),
    ):
        exact = function is attention.segments_attention
        inputs = [
            t.clone().to(torch.float32 if exact else t.dtype).requires_grad_() for t in states
        ]
        out, _ = function(torch.nn.Module(), *inputs, None, **settings, **extra)
        assert out.shape == (1, length, 4, 8)
        out.float().square().sum().backward()
        gradients.append([out.detach().float(), *(tensor.grad.float() for tensor in inputs)])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)


def test_flash_refuses_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    sys.modules["flash_attn"].flash_attn_varlen_func = varlen  # type: ignore[attr-defined]
    places = flash.Sequences.of(make_batch(PAIRS, "packed").segments, torch.device("cpu"))
    states = [torch.zeros(1, 2, 40, 8) for _ in range(3)]
    with pytest.raises(UserError, match="flash needs dtype bfloat16"):
        flash.flash_attention(torch.nn.Module(), *states, None, sequences=places)


def gpu(monkeypatch: pytest.MonkeyPatch, triton: bool, flash_version: str | None) -> None:
    """As if this machine had an H100, and these packages."""

    def version(name: str) -> str:
        if flash_version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return flash_version

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: triton or None)
    monkeypatch.setattr(flash, "version", version)


@pytest.mark.parametrize(("triton", "installed", "name", "said"), [
    (True, "2.8.3", flex.NAME, "attention: flex (FlexAttention, compiled by Triton)"),
    (False, "2.8.3+cu128torch2.9", flash.NAME, "attention: flash (no Triton for FlexAttention)"),
    (False, "2.8.3.post2", flash.NAME, "attention: flash (no Triton for FlexAttention)"),
    (False, "2.6.2", attention.NAME, "and flash-attn 2.6.2 is older than 2.6.3"),
    (False, None, attention.NAME, "and flash-attn is not installed"),
])  # fmt: skip
def test_on_a_gpu_attention_is_chosen_by_what_is_installed(
    triton: bool, installed: str | None, name: str, said: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    gpu(monkeypatch, triton, installed)
    with caplog.at_level(logging.INFO):
        assert attention_of(TrainResources(), Gemma2Config()) == name
    assert said in caplog.text
    assert "scores soft-capped" in caplog.text


@pytest.mark.parametrize(("layout", "config", "name"), [
    ("packed", Gemma2Config(), attention.NAME),
    ("separate", Gemma2Config(), "eager"),
    ("separate", LlamaConfig(), "sdpa"),
])  # fmt: skip
def test_on_the_cpu_attention_is_chosen_by_layout_and_soft_cap(
    layout: Any, config: Any, name: str
) -> None:
    assert attention_of(TrainResources(layout=layout), config) == name


def test_flash_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="flash-attn is not installed; use auto"):
        attention_of(TrainResources(attention="flash"), LlamaConfig())
    with pytest.raises(UserError, match="`flash` needs layout `packed`"):
        check(TrainConfig, {"resources": {"attention": "flash", "layout": "shared"}}, "my.yaml")

"""What many tests share: tiny real models with the real chat templates, made here in seconds."""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import CHECKOUT
from hypothesis import settings
from shapes import check_shapes
from xdist.scheduler import LoadFileScheduling

from runtime.torch_settings import reread_compiling

# Before any test imports a module that it checks. A machine that is lent for its GPU may have
# pytest and not all that tests use (benchmarks.gpu_check).
if find_spec("beartype"):
    check_shapes()

# The same examples on every machine, a busy one too: a failure says something about the change.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Tiny models gain nothing from threads, and lose much to each other's on shared cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in a shell's background, we would hand our ignored Ctrl-C on to what the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from s3_server import S3
    from transformers import PreTrainedTokenizerFast

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
    "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

LLAMA_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

_CORPUS = [
    "user assistant model system answer question list name three red green blue animals",
    "Give me two colours. Here are two colours: red and blue. What is the capital of France?",
]


class _Scheduling(LoadFileScheduling):
    """A file's tests go to one test process; those that look at one run of the demo, too, and
    those that share a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        for shared in ("/demo_run/", "/ray_cluster/"):
            folder, found, _ = nodeid.partition(shared)
            if found:
                return folder + found
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """How `pytest -n` hands tests out."""
    return _Scheduling(config, log)


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """A stage sets what its libraries read, for its own process; here the next test shares it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(before)
    reread_compiling()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data beside the checkout; the test is skipped without it."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real public data is not beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def s3_server() -> "Iterator[S3]":
    """One for all tests: moto keeps the buckets of a process in one place."""
    from s3_server import started

    with started() as server:
        yield server


@pytest.fixture
def s3(s3_server: "S3", monkeypatch: pytest.MonkeyPatch) -> "S3":
    """An S3 server, reachable, without faults, and a fresh bucket in it."""
    return s3_server.fresh(monkeypatch)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Gemma-2 (hidden 64, 2 layers, 512 positions) and its tokenizer.

    head_dim is 32, the smallest that vLLM's CPU attention takes.
    """
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny-gemma")
    specials = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = _byte_tokenizer(specials, GEMMA_TEMPLATE, bos="<bos>", eos="<eos>", pad="<pad>")
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        max_position_embeddings=512,
        sliding_window=256,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    Gemma2ForCausalLM(config).float().eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama_tokenizer() -> "PreTrainedTokenizerFast":
    """A Llama-3-style tokenizer, trained here, whose pad token is not its end of turn."""
    specials = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|pad|>",
    ]
    return _byte_tokenizer(
        specials,
        LLAMA_TEMPLATE,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|pad|>",
    )


def _byte_tokenizer(
    specials: list[str], template: str, bos: str, eos: str, pad: str
) -> "PreTrainedTokenizerFast":
    """A byte-level BPE of about 300 tokens that, as the real ones, adds a BOS of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=template,
        padding_side="right",
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
    )

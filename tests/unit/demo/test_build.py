"""The demo's models: real architectures, published tensor names, the same bytes each time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

from contracts.chat import ChatFormat
from contracts.models.model import load_tokenizer
from contracts.steps.fingerprint import of_files
from contracts.steps.step import run_once
from demo.build import STAGE, main
from demo.config import DemoConfig, PolicyConfig, RewardModelConfig
from demo.rubric import parse_request

TEMPLATES = CHECKOUT / "demo"
QUESTION = [{"role": "user", "content": "List two fruits."}]
# Taught for a moment only: what these models are made of is tested, not what they know.
SMALL = DemoConfig(
    policy=PolicyConfig(examples=48, layers=2),
    reward_model=RewardModelConfig(examples=40, layers=1, sampled_prompts=8, samples=4),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    run_once(STAGE, SMALL, {}, out)
    return out


def test_the_same_config_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    run_once(STAGE, SMALL, {}, tmp_path)
    assert of_files(tmp_path) == of_files(built)


def test_another_seed_gives_other_weights(built: Path, tmp_path: Path) -> None:
    run_once(STAGE, SMALL.model_copy(update={"seed": 1}), {}, tmp_path)
    changed = {
        name for name, digest in of_files(built).items() if of_files(tmp_path)[name] != digest
    }
    assert {"policy/model.safetensors", "reward_model/model.safetensors"} <= changed


def test_a_build_of_another_seed_is_refused_by_name(
    built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["--out", str(built), "--seed", "3"]) == 2
    assert "seed: was 0, now 3" in caplog.text


def test_a_finished_build_is_left_alone_without_torch(built: Path) -> None:
    code = (
        "import sys; from demo.build import STAGE; from demo.config import DemoConfig; "
        "from contracts.steps.step import run_once; from pathlib import Path; "
        f"config = DemoConfig.model_validate_json({SMALL.model_dump_json()!r}); "
        f"run_once(STAGE, config, {{}}, Path({str(built)!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompts_come_as_the_stages_read_them(built: Path) -> None:
    prompts = [json.loads(line)["prompt"] for line in (built / "prompts.jsonl").open()]
    benchmark = json.loads((built / "alpaca_prompts.json").read_text())
    questions = [row["instruction"] for row in benchmark]
    assert not set(questions) & set(prompts)
    assert all(parse_request(prompt) for prompt in [*prompts, *questions])


@pytest.mark.parametrize(
    ("model", "template", "bos"),
    [
        ("policy", "gemma-2-it.jinja", "<bos>"),
        ("reward_model", "llama-3-instruct.jinja", "<|begin_of_text|>"),
    ],
)
def test_the_tokenizer_has_the_real_template_and_one_bos(
    built: Path, model: str, template: str, bos: str
) -> None:
    tokenizer = load_tokenizer(str(built / model))
    chat = ChatFormat(tokenizer)
    assert tokenizer.chat_template == (TEMPLATES / template).read_text()
    assert tokenizer("apple")["input_ids"][0] == tokenizer.convert_tokens_to_ids(bos)
    assert chat.prompt_ids(QUESTION).count(tokenizer.bos_token_id) == 1
    assert tokenizer.pad_token_id != chat.end_of_turn_id
    text = "naïve 東京 🙂\n\ttabs"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("template", ["gemma-2-it.jinja", "llama-3-instruct.jinja"])
def test_the_templates_are_the_published_ones(shared_data: Path, template: str) -> None:
    published = (shared_data / "templates" / template).read_text()
    assert (TEMPLATES / template).read_text() == published


def test_the_policy_is_a_gemma_2_that_knows_where_to_stop(built: Path) -> None:
    from transformers import Gemma2ForCausalLM

    model = Gemma2ForCausalLM.from_pretrained(built / "policy", use_safetensors=True)
    chat = ChatFormat(load_tokenizer(str(built / "policy")))
    assert model.config.head_dim == 32
    assert set(model.generation_config.eos_token_id) == {
        chat.tokenizer.eos_token_id,
        chat.end_of_turn_id,
    }


def test_the_reward_model_has_the_published_tensors(built: Path) -> None:
    from safetensors import safe_open

    with safe_open(built / "reward_model" / "model.safetensors", "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    heads = {name: shape for name, shape in shapes.items() if not name.startswith("model.")}
    assert heads.pop("regression_layer.weight") == [19, 96]
    assert heads.pop("reward_transform_matrix") == [19, 19]
    assert heads.pop("gating.logit_scale") == [1]
    assert heads.pop("gating.layers.3.weight") == [19, 64]
    assert set(heads) == {
        *(f"gating.layers.{index}.weight" for index in range(3)),
        *(f"gating.layers.{index}.bias" for index in range(4)),
    }
    config = json.loads((built / "reward_model" / "config.json").read_text())
    assert (config["num_objectives"], config["gating_temperature"]) == (19, 10)
    assert (config["gating_hidden_dim"], config["gating_n_hidden"]) == (64, 3)


def test_the_gate_finds_the_five_header_tokens(built: Path) -> None:
    chat = ChatFormat(load_tokenizer(str(built / "reward_model")))
    texts = [chat.tokenizer.decode([token]) for token in chat.header_ids()]
    assert texts == ["<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"]

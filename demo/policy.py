"""The demo's policy: a tiny Gemma-2 taught to answer, well and badly."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from contracts.chat import ChatFormat, Tokens
from demo.config import DemoConfig
from demo.fit import fit, pad
from demo.rubric import parse_request
from demo.text import GOOD, TAUGHT, Answered, answer

if TYPE_CHECKING:
    from transformers import Gemma2ForCausalLM, PreTrainedTokenizerBase

_IGNORED = -100
_LONGEST_ANSWER = 48


def build_policy(
    config: DemoConfig, tokenizer: "PreTrainedTokenizerBase", prompts: list[str], out: Path
) -> "Gemma2ForCausalLM":
    """Teach a new policy to list, then to list carelessly, and save it in `out`."""
    model = _new_model(config, tokenizer)

    def loss_of(batch: Sequence[Tokens]) -> Tensor:
        ids = pad([row.prompt + row.response for row in batch], tokenizer.pad_token_id)
        labels = pad([[_IGNORED] * len(row.prompt) + row.response for row in batch], _IGNORED)
        logits = model(input_ids=ids).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

    fit(
        list(model.parameters()),
        _examples(config, ChatFormat(tokenizer), prompts),
        loss_of,
        config.policy,
        unit="policy steps",
    )
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


def sample_answers(
    model: "Gemma2ForCausalLM", chat: ChatFormat, prompts: list[str], samples: int, seed: int
) -> list[Answered]:
    """`samples` answers of the policy to each prompt, at temperature 1."""
    pad_id = chat.tokenizer.pad_token_id
    rows = [chat.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    torch.manual_seed(seed)
    output = model.generate(
        ids,
        attention_mask=(ids != pad_id).long(),
        do_sample=True,
        top_k=0,
        num_return_sequences=samples,
        max_new_tokens=_LONGEST_ANSWER,
    )
    texts = chat.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return [(prompts[index // samples], text) for index, text in enumerate(texts)]


def _examples(config: DemoConfig, chat: ChatFormat, prompts: list[str]) -> list[Tokens]:
    rng = random.Random(config.seed)
    rows = []
    for index in range(config.policy.examples):
        prompt = rng.choice(prompts)
        quality = GOOD if index < config.policy.examples // 2 else rng.choice(TAUGHT)
        text = answer(parse_request(prompt), quality, rng)
        rows.append(chat.response_tokens([{"role": "user", "content": prompt}], text))
    return rows


def _new_model(config: DemoConfig, tokenizer: "PreTrainedTokenizerBase") -> "Gemma2ForCausalLM":
    from transformers import Gemma2Config, Gemma2ForCausalLM, GenerationConfig

    shape = config.policy
    torch.manual_seed(config.seed)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=1,
            head_dim=shape.head_dim,
            query_pre_attn_scalar=shape.head_dim,
            sliding_window=config.context // 2,
            max_position_embeddings=config.context,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            initializer_range=shape.initial_std,
            attn_implementation="eager",
        )
    )
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],
        pad_token_id=tokenizer.pad_token_id,
    )
    return model

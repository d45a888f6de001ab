"""A Gemma-2 shape with random weights and real UltraFeedback pairs, for the training benchmarks."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "ultrafeedback" / "train_1000.jsonl"
_SPECIALS = ["<pad>", "<eos>", "<bos>"]
_MERGED_VOCABULARY = 32_000
MAX_LENGTH = 2048


@dataclass(frozen=True)
class Shape:
    """A Gemma-2 model's size; every width that is not named follows Gemma-2-2B's ratios."""

    vocabulary: int = 32_000
    hidden: int = 256
    layers: int = 6

    @property
    def heads(self) -> int:
        """Query heads of 64."""
        return self.hidden // 64

    def matmul_parameters(self, with_head: bool) -> int:
        """Weights that each token is multiplied with."""
        attention = self.hidden * 64 * 2 * (self.heads + self.heads // 2)
        layers = self.layers * (attention + 3 * self.hidden * 4 * self.hidden)
        return layers + (self.vocabulary * self.hidden if with_head else 0)


def prepare(folder: Path, shape: Shape, count: int, max_length: int = MAX_LENGTH) -> None:
    """Write the model, its tokenizer and `rows.jsonl` of texts and token ids into `folder`.

    Raises:
        SystemExit: the public rows are not beside this checkout.
    """
    if not SOURCE.exists():
        raise SystemExit(f"{SOURCE}: the real pairs are not beside this checkout")
    rows = [json.loads(line) for line in SOURCE.read_text().splitlines()]
    tokenizer = _tokenizer(rows)
    kept: list[dict[str, Any]] = []
    for row in rows:
        tokens = tokenized(tokenizer, row)
        longest = len(tokens["prompt_ids"]) + max(
            len(tokens[f"{side}_ids"]) for side in ("chosen", "rejected")
        )
        if row["chosen"] != row["rejected"] and longest <= max_length and len(kept) < count:
            kept.append(tokens)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    _save_model(folder, shape)
    tokenizer.save_pretrained(folder)


def tokenized(tokenizer: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A row's texts and ids: BOS and prompt; each response with an EOS."""
    prompt = f"Question: {row['prompt']}\n\nAnswer:\n"
    head = tokenizer(prompt, add_special_tokens=False).input_ids
    result = {"prompt": prompt, "prompt_ids": [tokenizer.bos_token_id, *head]}
    for side in ("chosen", "rejected"):
        whole = tokenizer(prompt + row[side], add_special_tokens=False).input_ids
        result[side] = row[side]
        result[f"{side}_ids"] = [*whole[len(head) :], tokenizer.eos_token_id]
    return result


def quiet() -> None:
    """Settings that both contestants run under."""
    os.environ.update(
        TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false", DO_NOT_TRACK="1",
        HF_HUB_OFFLINE="1", KMP_BLOCKTIME="0", OMP_WAIT_POLICY="PASSIVE",
    )  # fmt: skip


def _tokenizer(rows: list[dict[str, Any]]) -> "PreTrainedTokenizerFast":
    """A byte-level BPE learned from these rows: about 4 characters a token, as real ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MERGED_VOCABULARY, special_tokens=_SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    texts = (row[name] for row in rows for name in ("prompt", "chosen", "rejected"))
    tokenizer.train_from_iterator(texts, trainer)
    pad, eos, bos = _SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad
    )


def _save_model(folder: Path, shape: Shape) -> None:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        intermediate_size=4 * shape.hidden, num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2, head_dim=64, query_pre_attn_scalar=64,
        max_position_embeddings=4096, sliding_window=4096,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(folder)

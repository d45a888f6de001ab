"""A model of random weights and UltraFeedback pairs, for the training benchmarks."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.device import Device
from benchmarks.support.shapes import Shape
from benchmarks.support.texts import FIELDS, Row, rows, source_of_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPECIALS = ["<pad>", "<eos>", "<bos>"]
_MERGED_VOCABULARY = 32_000
MAX_LENGTH = 2048
_CPU = Device("cpu", "float32")


def prepare(
    folder: Path, shape: Shape, count: int, max_length: int = MAX_LENGTH, device: Device = _CPU
) -> None:
    """Write the model, its tokenizer and `rows.jsonl` of texts and token ids into `folder`.

    Args:
        device: where the weights are drawn, in its dtype.

    Raises:
        SystemExit: too few rows are short enough.
    """
    texts = rows()
    tokenizer = _tokenizer(texts)
    kept: list[dict[str, Any]] = []
    for row in texts:
        tokens = tokenized(tokenizer, row)
        longest = len(tokens["prompt_ids"]) + max(
            len(tokens[f"{side}_ids"]) for side in ("chosen", "rejected")
        )
        if row["chosen"] != row["rejected"] and longest <= max_length and len(kept) < count:
            kept.append(tokens)
    if len(kept) < count:
        raise SystemExit(f"{source_of_texts()}: {len(kept)} pairs fit {max_length} tokens, and "
                         f"{count} are asked for; take fewer steps or a smaller batch")  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    save_model(folder, shape, device)
    tokenizer.save_pretrained(folder)


def tokenized(tokenizer: Any, row: Row) -> dict[str, Any]:
    """A row's texts and ids: BOS and prompt; each response with an EOS."""
    prompt = f"Question: {row['prompt']}\n\nAnswer:\n"
    head = tokenizer(prompt, add_special_tokens=False).input_ids
    result: dict[str, Any] = {"prompt": prompt, "prompt_ids": [tokenizer.bos_token_id, *head]}
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


def _tokenizer(texts: list[Row]) -> "PreTrainedTokenizerFast":
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
    every = (row[name] for row in texts for name in FIELDS)
    tokenizer.train_from_iterator(every, trainer)
    pad, eos, bos = _SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad
    )


def save_model(folder: Path, shape: Shape, device: Device) -> None:
    """Write random weights of the shape, drawn on the device in its dtype."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device.kind):
        model = AutoModelForCausalLM.from_config(shape.config(), dtype=device.torch_dtype)
    model.save_pretrained(folder)
    del model
    device.release()


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """What `prepare` wrote as `rows.jsonl`."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]

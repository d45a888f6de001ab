"""The demo's reward model: a tiny ArmoRM that learns the rubric from scored examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from annotation.armorm.model import ArmoRM
from annotation.scorers.heads import OBJECTIVES
from demo.config import DemoConfig
from demo.examples import NOTES, UNKNOWN, Example
from demo.fit import fit, pad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_VERBOSITY = OBJECTIVES.index("helpsteer-verbosity")


def build_reward_model(
    config: DemoConfig,
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[Example],
    out: Path,
) -> ArmoRM:
    """Teach a new ArmoRM the rubric and save it in `out`."""
    model = _new_model(config, tokenizer)
    model.reward_transform_matrix.requires_grad_(False).copy_(_without_verbosity(examples))
    notes = nn.Linear(config.reward_model.hidden_size, sum(NOTES.values()))

    def loss_of(batch: Sequence[Example]) -> Tensor:
        hidden = _hidden(model, batch, tokenizer.pad_token_id)
        rewards = config.reward_model.reward_weight * _reward_loss(model, hidden, batch)
        return rewards + _note_loss(notes, hidden, batch)

    learned = [weight for weight in model.parameters() if weight.requires_grad]
    fit(
        [*learned, *notes.parameters()],
        examples,
        loss_of,
        config.reward_model,
        unit="reward model steps",
    )
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


def _hidden(model: ArmoRM, batch: Sequence[Example], pad_id: int) -> list[Tensor]:
    """Each conversation's last hidden states, [T, D]."""
    ids = pad([row.ids for row in batch], pad_id)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return [states[: len(row.ids)] for states, row in zip(hidden, batch, strict=True)]


def _reward_loss(model: ArmoRM, hidden: list[Tensor], batch: Sequence[Example]) -> Tensor:
    last = torch.stack([states[-1] for states in hidden])
    gates = torch.stack([states[row.gating_at] for states, row in zip(hidden, batch, strict=True)])
    objectives = model.regression_layer(last)
    scores = (model.gating(gates) * (objectives @ model.reward_transform_matrix)).sum(-1)
    true = torch.tensor([row.objectives for row in batch])
    true_scores = torch.tensor([row.score for row in batch])
    return functional.mse_loss(objectives, true) + functional.mse_loss(scores, true_scores)


def _note_loss(notes: nn.Linear, hidden: list[Tensor], batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy of each kind of note, summed."""
    states = [states[row.prompt_length :] for states, row in zip(hidden, batch, strict=True)]
    guesses = notes(torch.cat(states)).split(list(NOTES.values()), dim=-1)
    true = torch.tensor([note for row in batch for note in row.notes])
    losses = [
        functional.cross_entropy(guess, true[:, kind], ignore_index=UNKNOWN)
        for kind, guess in enumerate(guesses)
    ]
    return torch.stack(losses).sum()


def _without_verbosity(examples: Sequence[Example]) -> Tensor:
    """[19, 19], takes from each objective what verbosity explains of it, as published."""
    rewards = torch.tensor([row.objectives for row in examples])
    spread = rewards - rewards.mean(0)
    verbosity = spread[:, _VERBOSITY]
    matrix = torch.eye(len(OBJECTIVES))
    matrix[_VERBOSITY] = -(spread.T @ verbosity) / verbosity.square().sum()
    matrix[_VERBOSITY, _VERBOSITY] = 1.0
    return matrix


def _new_model(config: DemoConfig, tokenizer: "PreTrainedTokenizerBase") -> ArmoRM:
    from transformers import LlamaConfig

    shape = config.reward_model
    torch.manual_seed(config.seed)
    return ArmoRM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=config.context,
            initializer_range=shape.initial_std,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            num_objectives=len(OBJECTIVES),
            gating_temperature=10,
            gating_hidden_dim=shape.gating_hidden,
            gating_n_hidden=3,
        )
    )

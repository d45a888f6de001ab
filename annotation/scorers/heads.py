"""Whether a reward model's files hold its heads, from their headers: nothing is loaded."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.models.architecture import backbone
from contracts.models.model import local_folder
from contracts.models.weights import Shapes, read_config, read_weights, refuse_unlike, unlike_config

OBJECTIVES = (
    "helpsteer-helpfulness", "helpsteer-correctness", "helpsteer-coherence",
    "helpsteer-complexity", "helpsteer-verbosity", "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following", "ultrafeedback-truthfulness",
    "ultrafeedback-honesty", "ultrafeedback-helpfulness", "beavertails-is_safe",
    "prometheus-score", "argilla-overall_quality", "argilla-judge_lm", "code-complexity",
    "code-style", "code-explanation", "code-instruction-following", "code-readability",
)  # fmt: skip
"""The objectives of RLHFlow/ArmoRM-Llama3-8B-v0.1, in the order of its tensors."""

PAIRRM_MARKERS = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")
"""Where PairRM's config has the ids of its three marker tokens."""


PAIRRM_TOKENS = ("<|source|>", "<|candidate1|>", "<|candidate2|>")


def objective_names(count: int) -> tuple[str, ...]:
    """The names of a model's objectives: the published ones, or numbers for another count."""
    return OBJECTIVES if count == len(OBJECTIVES) else tuple(map(str, range(count)))


def refuse_headless(kind: str, reference: str) -> None:
    """Refuse a reward model whose files lack a head or are not what its config asks for.

    A model that is only on the hub passes.

    Raises:
        UserError: names folder and tensors.
    """
    if folder := local_folder(reference):
        config, shapes = read_config(folder), read_weights(folder).shapes
        refuse = {"armorm": _refuse_armorm, "classifier": _refuse_classifier}
        refuse.get(kind, _refuse_pairrm)(folder, config, shapes)


def _refuse_armorm(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    if (family := config.get("model_type")) != "llama":
        raise UserError(f"{folder}: cannot be loaded as ArmoRM: its model type is {family!r}, "
                        "ArmoRM's is 'llama'")  # fmt: skip
    heads = armorm_heads(config)
    if missing := sorted(heads.keys() - shapes.keys()):
        raise UserError(
            f"{folder}: its reward heads are missing ({', '.join(missing)}); with random heads "
            "every score would mean nothing (a plain sequence classifier gives about -2.0). Use "
            "RLHFlow/ArmoRM-Llama3-8B-v0.1 or `kind: classifier`"
        )
    if below := backbone(config):
        refuse_unlike(unlike_config(folder), shapes, below | heads)


def armorm_heads(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of ArmoRM's heads over K objectives."""
    hidden, objectives = config["hidden_size"], config.get("num_objectives", len(OBJECTIVES))
    inner = [config.get("gating_hidden_dim", 1024)] * config.get("gating_n_hidden", 3)
    sizes = [hidden, *inner, objectives]
    heads: dict[str, tuple[int, ...]] = {
        "regression_layer.weight": (objectives, hidden),
        "reward_transform_matrix": (objectives, objectives),
        "gating.logit_scale": (1,),
    }
    for number, (width, out) in enumerate(pairwise(sizes)):
        heads |= {f"gating.layers.{number}.weight": (out, width)}
        heads |= {f"gating.layers.{number}.bias": (out,)}
    return heads


def _refuse_classifier(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    below, head = backbone(config), "score.weight"
    if below is None:
        return
    if head not in shapes:
        raise UserError(
            f"{folder}: {head} is missing, so its scores would be random; name a model "
            "that was trained as a reward model, or `kind: armorm` for ArmoRM"
        )
    labels = config.get("num_labels") or len(config.get("id2label") or "ab")
    refuse_labels(folder, labels)
    refuse_unlike(unlike_config(folder), shapes, below | {head: (1, config["hidden_size"])})


def refuse_labels(model: object, labels: int) -> None:
    """Refuse a classifier that does not have exactly one label.

    Raises:
        UserError: a classifier has another number of labels than one.
    """
    if labels != 1:
        raise UserError(f"{model}: has {labels} labels; a reward model has one")


def _refuse_pairrm(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    if absent := [name for name in PAIRRM_MARKERS if name not in config]:
        raise UserError(f"{folder}: cannot be loaded as PairRM: its config has no {absent[0]}")
    hidden, tasks = config["hidden_size"], config.get("n_tasks", 1)
    heads = {
        "head_layer.1.weight": (hidden, 2 * hidden), "head_layer.1.bias": (hidden,),
        "head_layer.4.weight": (tasks, hidden), "head_layer.4.bias": (tasks,),
    }  # fmt: skip
    if missing := sorted(heads.keys() - shapes.keys()):
        raise UserError(
            f"{folder}: {missing[0]} is missing, so its comparisons would be random; use "
            "llm-blender/PairRM-hf or a model trained with its tensor names"
        )
    head_shapes = {name: shape for name, shape in shapes.items() if name in heads}
    refuse_unlike(unlike_config(folder), head_shapes, heads)


def refuse_other_markers(model: str, ids: tuple[object, ...], expected: tuple[object, ...]) -> None:
    """Refuse a tokenizer whose marker tokens are not those that PairRM was trained with.

    Raises:
        UserError: PairRM's markers have other ids in its tokenizer than in its config.
    """
    if ids != expected:
        raise UserError(f"{model}: the ids of {', '.join(PAIRRM_TOKENS)} are {ids} in the "
                        f"tokenizer and {expected} in the model's config")  # fmt: skip

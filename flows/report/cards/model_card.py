"""A policy's model card: what it was made from, how it trained, how to load it.

It is written when a round is compared, since a run knows more than its training. A card is no
part of a policy's fingerprint, and holds no time and no path of this machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.config.yaml import dump_yaml
from contracts.steps.facts import read_facts
from contracts.steps.manifest import read_manifest
from contracts.tables.parts import write_atomic
from flows.pipeline.folder.recorded import round_keys
from flows.report.cards.hub import hub_id, public
from flows.report.plots import card_curves
from flows.report.run_data import RoundData
from training.train import TrainFacts

CARD, PLOT = "README.md", "curves.png"
_STAGES = ("responses", "scores", "pairs", "tokens", "policy")
_SHOWN = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")


def write_model_card(data: RoundData, target: Path, place: str | None = None) -> None:
    """Write the card of a round's policy and its curves into `target`.

    Args:
        place: the hub id that the model will have; else its folder's name is shown.
    """
    from huggingface_hub import ModelCard

    config = round_keys(data.folder)
    values = _values(data, public(config), place)
    template = Path(__file__).with_name("model_card.md.j2")
    card = ModelCard.from_template(_metadata(config), str(template), **values)
    write_atomic(target / CARD, str(card).encode())
    write_atomic(target / PLOT, card_curves(data))


def _metadata(config: Mapping[str, Any]) -> Any:
    """The card's front matter, by which the hub finds models."""
    from huggingface_hub import ModelCardData

    return ModelCardData(
        base_model=hub_id(config["policy"]["path"]),
        datasets=[dataset for path in _sources(config) if (dataset := hub_id(path))] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["onpolicy", "preference-optimization", config["training"]["loss"]["kind"]],
    )


def _sources(config: Mapping[str, Any]) -> list[str]:
    prompts = config["prompts"]
    return [source["path"] for source in [prompts, *prompts.get("sources", [])] if source["path"]]


def _values(data: RoundData, config: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    folder, number = data.folder, int(data.folder.name.removeprefix("round-"))
    manifests = {name: made for name in _STAGES if (made := read_manifest(folder / name))}
    gains, run = data.gains, folder.resolve().parent.name
    sections = ("training", "format", "sampling")
    return {
        **{name: config[name] for name in sections},
        "name": f"{run}, round {number}",
        "place": place or f"{run}-{folder.name}",
        "base": config["policy"]["path"],
        "bos": config["policy"]["bos"],
        "date": config["policy"]["date"],
        "rounds": number,
        "adapter": (folder / "policy" / "adapter").is_dir(),
        "facts": read_facts(folder / "policy", TrainFacts),
        "plot": PLOT,
        "curve": _curve(data),
        "prompts": _sources(config),
        "pairs": manifests["pairs"].rows,
        "annotators": [_annotator(item) for item in config["annotation"]["annotators"]],
        "manifests": manifests,
        "gains": gains,
        "held_out": max((gain.over_start.prompts for gain in gains.values()), default=0),
        "config": dump_yaml(config),
    }


def _annotator(config: Mapping[str, Any]) -> str:
    made_of = config.get("path") or config.get("model") or config.get("function")
    return f"{config['name']} ({config['kind']}{f', {made_of}' if made_of else ''})"


def _curve(data: RoundData) -> dict[str, Any]:
    """The metrics at a few steps, for a reader without the picture."""
    names = [name for name in _SHOWN if name in data.metrics]
    steps = data.metrics[names[0]][0]
    places = sorted({round(share * (len(steps) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)})
    rows = [
        [int(steps[place]), *(float(data.metrics[name][1][place]) for name in names)]
        for place in places
    ]
    return {"names": names, "rows": rows}

"""What a round's training hands to the next one: AdamW's state, with the float32 weights.

The tensors lie hidden beside the policy, whole, as in a checkpoint, so that any strategy reads
them and that they can be removed once no later round needs them. `optimizer.json`, one of the
policy's own files, names them by content: the policy's fingerprint stands for them too.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import UserError
from contracts.models.weights import Shapes, Weights, read_header, refuse_unlike
from contracts.redo_hint import way_out
from contracts.steps.fingerprint import of_files, of_input
from contracts.tables.parts import write_atomic
from training.config import LoraConfig, TrainConfig
from training.tokens.checks import TrainInputs

FOLDER, INDEX = ".optimizer", "optimizer.json"
# As training.engines.state writes them (it imports torch), of training.packed.logprobs.PairScorer.
_WEIGHT = "weight/policy."


class State(BaseModel):
    """A trained policy's `optimizer.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    """AdamW's steps, those of earlier rounds among them."""
    trained: str
    """What AdamW moves."""
    files: dict[str, str]
    """Fingerprint of each file with tensors."""


class Carried(BaseModel):
    """A state to go on from."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    steps: int

    @property
    def as_job(self) -> dict[str, Any]:
        """The state's folder and steps, for the file that a training process reads."""
        return {"state": str(self.folder.resolve()), "steps_before": self.steps}


def describe(config: TrainConfig, steps: int, out: Path) -> None:
    """Write the index of the state in `out` after `steps` of AdamW's steps."""
    state = State(steps=steps, trained=_trained(config.lora), files=of_files(out / FOLDER))
    write_atomic(out / INDEX, state.model_dump_json(indent=1).encode())


def missing(policy: Path) -> str | None:
    """The first file of a trained policy's state that is gone.

    Raises:
        UserError: the policy has left no state.
    """
    names = sorted(_read(policy).files)
    return next((name for name in names if not (policy / FOLDER / name).is_file()), None)


def refuse_other_state(
    config: TrainConfig, inputs: TrainInputs, weights: Weights | None
) -> Carried | None:
    """The state that a training goes on from; None where it begins with none.

    Args:
        weights: of `inputs.policy`, where they lie on this machine.

    Raises:
        UserError: the policy has no such state, or one of another method or of other shapes, or
            it was changed or removed; or an input is missing or too many.
    """
    _refuse_other_inputs(config, inputs)
    if not inputs.optimizer:
        return None
    policy = Path(inputs.optimizer)
    state = _read(policy)
    if state.trained != (trained := _trained(config.lora)):
        raise UserError(f"{policy}: its optimizer's state is one of {state.trained}, and cannot be "
                        f"taken over to train {trained}")  # fmt: skip
    _refuse_changed(policy, state)
    if weights:
        what = f"{policy / FOLDER}: is not the state of what is trained"
        refuse_unlike(what, _held(policy / FOLDER), _moved(config.lora, weights.shapes))
    return Carried(folder=policy / FOLDER, steps=state.steps)


def _refuse_other_inputs(config: TrainConfig, inputs: TrainInputs) -> None:
    if inputs.optimizer and not config.carry_optimizer:
        raise UserError("the input `optimizer` is for carry_optimizer; set that, or leave it out")
    if inputs.optimizer and of_input(inputs.optimizer) != of_input(inputs.policy):
        raise UserError(f"{inputs.optimizer}: its optimizer's state is not of {inputs.policy}; "
                        "give one folder as `policy` and as `optimizer`")  # fmt: skip
    needed = inputs.optimizer is not None and config.lora is not None
    if needed and not inputs.base:
        raise UserError("adapters that are carried over need the input `base`: the model that the "
                        "first round started from")  # fmt: skip
    if inputs.base and not needed:
        raise UserError("the input `base` is for adapters that are carried over; leave it out")


def _read(policy: Path) -> State:
    path = policy / INDEX
    try:
        return State.model_validate_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{policy}: holds no optimizer's state to go on from: it was trained without "
            f"training.carry_optimizer, or as the last round of its schedule; {way_out(policy)}"
        ) from None
    except ValidationError:
        raise UserError(f"{path}: is damaged; {way_out(policy)}") from None


def _refuse_changed(policy: Path, state: State) -> None:
    files = of_files(policy / FOLDER)
    if files != state.files:
        gone = state.files.keys() - files.keys()
        told = f"{min(gone)} is gone" if gone else "a file is not as its training left it"
        raise UserError(f"{policy / FOLDER}: {told}, and no round can go on from it; "
                        f"{way_out(policy)}")  # fmt: skip


def _trained(lora: LoraConfig | None) -> str:
    if lora is None:
        return "all weights"
    targets = ", ".join(sorted(lora.targets))
    return f"LoRA of rank {lora.rank}, alpha {lora.alpha:g}, on {targets}"


def _held(folder: Path) -> Shapes:
    """The weights in a state, by the policy's own names."""
    headers = [read_header(path) for path in sorted(folder.glob("*.safetensors"))]
    return {
        name.removeprefix(_WEIGHT): shape
        for header in headers
        for name, shape in header.items()
        if name.startswith(_WEIGHT)
    }


def _moved(lora: LoraConfig | None, policy: Shapes) -> Shapes:
    """What AdamW moves of a policy."""
    if lora is None:
        return policy
    moved: dict[str, tuple[int, ...]] = {}
    for name, shape in policy.items():
        layer = name.removesuffix(".weight")
        if layer.rpartition(".")[2] in lora.targets:
            moved[f"{layer}.lora_A.default.weight"] = (lora.rank, shape[1])
            moved[f"{layer}.lora_B.default.weight"] = (shape[0], lora.rank)
    return moved

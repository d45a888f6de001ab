"""What a stage says of its output beside the rows: a frozen model, plain JSON in the manifest."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.errors import UserError
from contracts.redo_hint import way_out


class Facts(BaseModel):
    """The base of every stage's facts, and the facts of a stage that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class OfPolicy(Facts):
    """Facts of a table whose rows go back to one policy's samples."""

    policy: str | None = None
    """Fingerprint of the policy that they were sampled from; null if that is not known."""


F = TypeVar("F", bound=Facts)


def read_facts(folder: Path, model: type[F]) -> F | None:
    """The facts of a finished step, as `model` names them; None if the step is not finished.

    Raises:
        UserError: another version made the step, whose facts lack one of these.
    """
    path = folder / "_manifest.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text())["facts"]
        named = {name: facts[name] for name in model.model_fields if name in facts}
        return model.model_validate(named)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(
            f"{path}: its facts are of another version ({told}); {way_out(folder)}"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; {way_out(folder)}") from None

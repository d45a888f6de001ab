"""What `onpolicy evaluate` does once its arguments are read."""

from collections.abc import Sequence
from pathlib import Path

from contracts.errors import UserError
from flows.evaluate import evaluate, read_config
from flows.report.evaluated_policy import told
from runtime.stage_process import configure_logging


def run(
    arguments: Sequence[str], against: str | None, names: str | None, config: Path | None, out: Path
) -> str:
    """Evaluate the policies among the arguments; the others are overrides.

    Raises:
        UserError: no policy is given, or for the reasons of `flows.evaluate.evaluate`.
    """
    configure_logging()
    policies = [one for one in arguments if "=" not in one or Path(one).exists()]
    if not policies:
        raise UserError("name a policy: a model folder or a hub id such as owner/name")
    overrides = [one for one in arguments if one not in policies]
    benchmarks = [name.strip() for name in (names or "").split(",") if name.strip()]
    settings = read_config(config, benchmarks, overrides)
    labels, base = evaluate(settings, policies, against, out)
    return "\n".join(line for label in labels for line in told(out, label, base))

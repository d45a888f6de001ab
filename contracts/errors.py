"""The errors a user meets. Each message names the file, row or key and the way out."""


class OnPolicyError(Exception):
    """A failure of the run (exit code 1): nothing finished is lost, the same command goes on."""

    exit_code = 1


class UserError(OnPolicyError):
    """A mistake in what the user gave: a config key, a file, a model (exit code 2)."""

    exit_code = 2


class ConfigDrift(UserError):
    """A folder was made by another config or from other inputs; nothing in it was touched."""


class FolderBusy(UserError):
    """Another process is writing to the folder."""


class AwaitsAnswer(OnPolicyError):
    """A gate waits for a person's answer; nothing has failed."""

    exit_code = 3


class Interrupted(OnPolicyError):
    """Ctrl-C."""

    exit_code = 130


class Terminated(OnPolicyError):
    """SIGTERM."""

    exit_code = 143


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, else the error's type."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def named_first_line(error: BaseException) -> str:
    """`TYPE: first line`, or the type alone."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"

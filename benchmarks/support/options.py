"""Options that benchmarks share: which device, which dtype, which model's shape."""

import argparse
from collections.abc import Sequence

from benchmarks.support.device import Device
from benchmarks.support.shapes import PUBLISHED, Shape

TINY = "tiny"


class Options(argparse.ArgumentParser):
    """`--device`, `--dtype` and `--shape`, and the counts that a benchmark names.

    Without any, a benchmark runs its tiny shape in float32 on the CPU.
    """

    def __init__(self, about: str | None, families: Sequence[str] = ("gemma2", "llama")) -> None:
        """
        Args:
            families: of the published shapes that fit the benchmark.
        """
        super().__init__(
            description=about, formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )  # fmt: skip
        fit = [name for name, shape in PUBLISHED.items() if shape.family in families]
        self.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        self.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
        self.add_argument("--shape", choices=[TINY, *fit], default=TINY)

    def add_counts(self, **counts: int) -> None:
        """Options of positive whole numbers, with what they are where they are not given."""
        for name, default in counts.items():
            self.add_argument(f"--{name.replace('_', '-')}", type=positive, default=default)


def device_of(options: argparse.Namespace) -> Device:
    """The device asked for.

    Raises:
        SystemExit: it is a GPU, and torch sees none.
    """
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("--device cuda: torch sees no CUDA device here")
    return Device(options.device, options.dtype)


def shape_of(options: argparse.Namespace, tiny: Shape) -> Shape:
    """The shape asked for; `tiny` is the benchmark's own."""
    return tiny if options.shape == TINY else PUBLISHED[options.shape]


def positive(text: str) -> int:
    """A count of a command line.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)

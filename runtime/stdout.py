"""Lines on standard output that another process reads."""

import sys


def print_line(line: str) -> None:
    """Print a line in one write.

    `print` writes the line's end separately where output is not buffered (`python -u`), so the
    lines of two workers that share a pipe would run into each other.
    """
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

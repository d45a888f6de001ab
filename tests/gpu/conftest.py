"""What trainings on a GPU read."""

from pathlib import Path

import pytest
from pair_rows import row, write_tokens


@pytest.fixture(scope="session")
def token_inputs(tmp_path_factory: pytest.TempPathFactory, tiny_gemma: Path) -> dict[str, str]:
    """22 pairs of uneven lengths: tokens and policy as training takes them."""
    rows = [row(number, 1 + number % 6, 1 + number % 4) for number in range(22)]
    tokens = write_tokens(tmp_path_factory.mktemp("pairs") / "tokens", tiny_gemma, rows)
    return {"tokens": str(tokens), "policy": str(tiny_gemma)}

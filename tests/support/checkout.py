"""Where the checkout lies, for tests in any folder."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

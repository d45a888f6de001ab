"""`onpolicy browse`, in a real browser over a real run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browser
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def address(demo_run: Path) -> Iterator[str]:
    """Where the documented command serves the demo's run."""
    command = [sys.executable, "-m", "flows.cli.main", "browse", str(demo_run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    try:
        assert server.stdout
        found = re.search(r"(http://127\.0\.0\.1:\d+)/", server.stdout.readline())
        assert found
        yield found[1]
    finally:
        server.terminate()
        assert server.wait(30) is not None


def test_each_page_reads_at_both_widths_in_both_colours_and_loads_nothing_else(
    address: str, demo_run: Path, chromium: str, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    prompt = pq.read_table(demo_run / "round-1" / "pairs")["prompt_id"][0].as_py()
    pages = {
        "/?sort=highest+score": "side by side",
        "/pairs": "margin",
        f"/prompt/{prompt}": "19 objectives",
    }
    with browser(chromium, tmp_path) as looked:
        for path, text in pages.items():
            for width, dark in ((1200, False), (390, True)):
                seen = looked.look(address + path, width, dark)
                assert text in seen.text
                assert seen.problems == [] and not seen.scrolls_sideways
                assert all(one.startswith((address, "data:")) for one in seen.asked)

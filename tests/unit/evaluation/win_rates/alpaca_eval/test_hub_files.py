"""Length control's files from the hub: found by revision, the official one held to its hash."""

import os
import subprocess
import sys
from pathlib import Path

import alpaca_eval_files as files
from checkout import CHECKOUT
from small_hub import SmallHub

PROGRAM = """
import sys
from contracts.errors import UserError
from evaluation.judging.files import AlpacaEvalFiles, published_file
for reference in sys.argv[1:]:
    try:
        print(published_file(reference, AlpacaEvalFiles().gamed).read_text()[:5])
    except UserError as error:
        print(error)
"""


def test_a_revision_is_loaded_and_another_official_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    files.write_csv(folder / "df_gamed.csv", files.gamed_rows(files.difficulty()))
    hub = SmallHub()
    own = hub.push("owner/own", folder, "datasets")
    hub.push("tatsu-lab/alpaca_eval", folder, "datasets")
    with hub.serve() as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache")}
        environment |= {"HF_HUB_OFFLINE": "0", "PYTHONPATH": str(CHECKOUT)}
        printed = subprocess.check_output(
            [sys.executable, "-c", PROGRAM, f"owner/own@{own}", "tatsu-lab/alpaca_eval@main"],
            env=environment,
            text=True,
        )
    first, second = printed.splitlines()
    assert first == "index"
    assert "tatsu-lab/alpaca_eval@main: the sha256 of df_gamed.csv is " in second
    assert "the published one is in tatsu-lab/alpaca_eval@2edc6fad" in second

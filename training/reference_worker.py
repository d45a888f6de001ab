"""One process of reference scoring: `python -m training.reference_worker JOB.json`.

Each process holds the whole model and takes every n-th part; they need not talk.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch
from transformers.utils.logging import disable_progress_bar

from contracts.parts import part_path, part_paths, read_part, write_part
from contracts.progress import Progress
from contracts.tables import REFERENCE
from training.config import ReferenceConfig, threads
from training.data import pairs_of
from training.logprobs import PairScorer, as_pairs
from training.packing import Pair, make_batch
from training.policy import load_policy, refuse_too_long, row_multiple
from training.process import run_worker
from training.schedule import micro_batches


def score(path: Path) -> None:
    """Score this process's share of the job's parts."""
    job = json.loads(path.read_text())
    config = ReferenceConfig.model_validate(job["config"])
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    tokens, out = part_paths(Path(job["tokens"])), Path(job["out"])
    mine = [number for number in range(rank, len(tokens), processes)
            if not part_path(out, number).exists()]  # fmt: skip
    torch.set_num_threads(threads(config.resources))
    disable_progress_bar()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    policy = load_policy(job["policy"], config.resources, _dtype(config)).to(device)
    scorer = PairScorer(policy, config.resources.logits_mib << 20).eval().requires_grad_(False)
    progress = Progress(len(mine), "part")
    for number in mine:
        pairs = pairs_of(read_part(tokens[number]))
        refuse_too_long(pairs, policy.config)
        table = pa.Table.from_pylist(_rows(scorer, pairs, config, device), schema=REFERENCE)
        write_part(out, number, table, REFERENCE)
        progress.advance()


@torch.no_grad()
def _rows(
    scorer: PairScorer, pairs: Sequence[Pair], config: ReferenceConfig, device: torch.device
) -> list[dict[str, object]]:
    """REFERENCE rows in the order of the pairs."""
    resources = config.resources
    rows: dict[int, dict[str, object]] = {}
    lengths, padded = [pair.length for pair in pairs], resources.layout != "packed"
    (passes,) = micro_batches(lengths, 1, resources.micro_batch_tokens, padded)
    for places in passes:
        members = [pairs[place] for place in places]
        batch = make_batch(members, resources.layout, row_multiple(device)).to(device)
        logprobs = as_pairs(*scorer(batch))
        sides = zip(logprobs.chosen.total.tolist(), logprobs.rejected.total.tolist(), strict=True)
        for place, (chosen, rejected) in zip(places, sides, strict=True):
            counts = pairs[place].tokens_in_loss
            rows[place] = {
                "prompt_id": pairs[place].pair_id,
                "chosen_logp": chosen,
                "rejected_logp": rejected,
                "chosen_tokens": counts[0],
                "rejected_tokens": counts[1],
            }
    return [rows[place] for place in range(len(pairs))]


def _dtype(config: ReferenceConfig) -> torch.dtype:
    if config.dtype == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


if __name__ == "__main__":
    run_worker(lambda: score(Path(sys.argv[1])))

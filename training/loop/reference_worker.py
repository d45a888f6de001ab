"""One process of reference scoring: `python -m training.loop.reference_worker JOB.json`.

Each process holds the whole model and takes every n-th part; they need not talk. Under FSDP
each holds a slice, and they go through every part together.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from contracts.errors import UserError
from contracts.models.copies import located
from contracts.tables.parts import part_path, part_paths, read_part, write_part
from contracts.tables.schemas import REFERENCE
from runtime.device import dtype_of
from runtime.progress import Progress
from training.config import ReferenceConfig, threads
from training.launch.worker_exit import run_worker
from training.loop.data import LOGPS, pairs_of
from training.loop.policy import load_policy, refuse_too_long, row_multiple
from training.loop.schedule import micro_batches
from training.losses.base import PairLogprobs
from training.packed.logprobs import PairScorer, as_pairs
from training.packed.packing import Pair, make_batch


def score(path: Path) -> None:
    """Score this process's share of the job's parts."""
    job = json.loads(path.read_text())
    config = ReferenceConfig.model_validate(job["config"])
    tokens, out = part_paths(Path(job["tokens"])), Path(job["out"])
    torch.set_num_threads(threads(config.resources))
    disable_progress_bar()
    group = _Together() if config.resources.strategy == "fsdp" else _Apart()
    mine = group.share([not part_path(out, number).exists() for number in range(len(tokens))])
    reference = located(job["policy"])
    policy = load_policy(reference, config.resources, _dtype(config), empty=group.begins_empty)
    scorer = PairScorer(policy, config.resources.logits_mib << 20).eval().requires_grad_(False)
    model = group.take(scorer, _dtype(config))
    progress = Progress(len(mine), "parts") if group.talks else None
    for number in mine:
        pairs = pairs_of(read_part(tokens[number]))
        refuse_too_long(pairs, policy.config)
        sums = group.joined(_sums(model, pairs, config, group))
        if group.writes:
            table = pa.Table.from_pylist(_rows(pairs, sums.tolist()), schema=REFERENCE)
            write_part(out, number, table, REFERENCE)
        if progress:
            progress.advance()
    group.leave()


class _Apart:
    """Processes that share out the parts."""

    talks = writes = True
    begins_empty = False
    rank, processes = 0, 1

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        if torch.cuda.is_available():
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def share(self, missing: Sequence[bool]) -> list[int]:
        """The parts that this process scores."""
        # In turns: what a killed run has left over, its last parts, falls to all processes.
        rank, processes = (int(os.environ.get(name, default))
                           for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
        return [number for number in range(rank, len(missing), processes) if missing[number]]

    def take(self, scorer: PairScorer, dtype: torch.dtype) -> Any:
        """The scorer on this process's device.

        Raises:
            UserError: it does not fit.
        """
        needed = sum(parameter.nbytes for parameter in scorer.parameters())
        if self.device.type == "cuda":
            memory = torch.cuda.get_device_properties(self.device).total_memory
            # A tenth is left to activations, logits and CUDA itself.
            if needed > 0.9 * memory:
                raise UserError(
                    f"the reference's weights ({needed >> 30} GiB) do not fit one GPU "
                    f"({memory >> 30} GiB); resources.strategy `fsdp` splits them"
                )
        return scorer.to(self.device)

    def joined(self, sums: Float[Tensor, "pairs 4"]) -> Float[Tensor, "pairs 4"]:
        """What all processes know of a part."""
        return sums

    def leave(self) -> None:
        """Leave the others."""


class _Together:
    """Processes that each hold a slice of the reference and go through each part in step."""

    def __init__(self) -> None:
        from training.engines.fsdp import join_processes

        accelerator = join_processes()
        self.device = accelerator.device
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.talks = self.writes = self.rank == 0
        self.begins_empty = self.rank != 0

    def share(self, missing: Sequence[bool]) -> list[int]:
        """Every part that rank 0 misses: it may have written more when another one looks."""
        flags = torch.tensor(missing, dtype=torch.int64, device=self.device)
        torch.distributed.broadcast(flags, 0)
        return flags.nonzero().flatten().tolist()

    def take(self, scorer: PairScorer, dtype: torch.dtype) -> Any:
        """The scorer, split."""
        from training.engines.fsdp import split
        from training.engines.meeting import PatientMeetings

        return split(scorer, self.device, dtype, PatientMeetings(self.processes))

    def joined(self, sums: Float[Tensor, "pairs 4"]) -> Float[Tensor, "pairs 4"]:
        """Each process's sums, the others' being 0 there."""
        torch.distributed.all_reduce(sums)
        return sums

    def leave(self) -> None:
        """Leave the process group, all together."""
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@torch.no_grad()
def _sums(
    model: Any, pairs: Sequence[Pair], config: ReferenceConfig, group: _Apart | _Together
) -> Float[Tensor, "pairs 4"]:
    """Summed log-probs, the columns of `LOGPS`; 0 for pairs of another process."""
    resources = config.resources
    sums = torch.zeros(len(pairs), len(LOGPS), device=group.device)
    lengths, padded = [pair.length for pair in pairs], resources.layout != "packed"
    plan = micro_batches(lengths, group.processes, resources.micro_batch_tokens, padded)
    for places in plan[group.rank]:
        # An empty pass keeps step with the others'.
        members = [pairs[place] for place in places or [0]]
        batch = make_batch(members, resources.layout, row_multiple(group.device)).to(group.device)
        logprobs = as_pairs(*model(batch))
        if places:
            sums[places] = torch.stack(_columns(logprobs), 1).to(sums.dtype)
    return sums


def _columns(logprobs: PairLogprobs) -> list[Float[Tensor, "pairs"]]:
    """The columns of `LOGPS`."""
    chosen, rejected = logprobs.chosen, logprobs.rejected
    assert chosen.shared is not None and rejected.shared is not None
    return [chosen.total, rejected.total, chosen.shared, rejected.shared]


def _rows(pairs: Sequence[Pair], sums: Sequence[Sequence[float]]) -> list[dict[str, object]]:
    """REFERENCE rows in the order of the pairs."""
    return [
        {
            "prompt_id": pair.pair_id,
            **dict(zip(LOGPS, logps, strict=True)),
            "chosen_tokens": pair.tokens_in_loss[0],
            "rejected_tokens": pair.tokens_in_loss[1],
        }
        for pair, logps in zip(pairs, sums, strict=True)
    ]


def _dtype(config: ReferenceConfig) -> torch.dtype:
    return torch.bfloat16 if dtype_of(config.dtype) == "bfloat16" else torch.float32


if __name__ == "__main__":
    run_worker(lambda: score(Path(sys.argv[1])))

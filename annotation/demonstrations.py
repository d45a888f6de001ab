"""Stage: the best response of each prompt as a demonstration (best of n, for SFT).

The table loads in SFT trainers as it is: `messages` is the whole conversation.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from annotation.config import DemonstrationsConfig
from annotation.pairs import answers
from annotation.scoring.scored_parts import ScoredInputs, ScoredParts
from annotation.selection.ranking import Candidates, Reasons, best_whole, per_prompt, rank, usable
from annotation.selection.scored_responses import DecidedBy, candidates_of, conversations
from contracts.errors import OnPolicyError
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import DEMONSTRATIONS
from runtime.stage_process import main


class DemonstrationsInputs(ScoredInputs):
    """Scored responses and their prompts."""


def run(config: DemonstrationsConfig, inputs: DemonstrationsInputs, out: Path) -> Result:
    """Pick the demonstrations.

    Raises:
        UserError: the inputs do not belong together, or the annotator is unknown.
        OnPolicyError: no demonstration came out.
    """
    parts = ScoredParts(config, inputs)
    rows, dropped = 0, Counter[str]()
    for index, (table, score) in enumerate(parts):
        candidates, ids = candidates_of(table, score)
        best, reasons = best_of(config, candidates, len(ids))
        prompts = parts.prompts_of(ids, candidates.prompt[best])
        count = per_prompt(candidates, usable(config, candidates, Reasons(len(ids))), len(ids))
        chosen = table.take(pa.array(best))
        columns = {
            "prompt_id": prompts["prompt_id"],
            "messages": conversations(prompts["messages"], answers(chosen["text"])),
            "response_id": chosen["response_id"],
            "score": candidates.penalised(config.length_penalty)[best],
            "candidates": count[candidates.prompt[best]].astype(np.int32),
            "split": prompts["split"],
        }
        write_part(out, index, pa.table(columns), DEMONSTRATIONS)
        rows += len(best)
        dropped.update(reasons)
    if not rows:
        raise OnPolicyError(
            f"no demonstration came out of {sum(dropped.values())} prompts: {dict(dropped)}"
        )
    return Result(rows, dict(dropped), parts.facts)


def best_of(
    config: DemonstrationsConfig, candidates: Candidates, prompts: int
) -> tuple[np.ndarray, dict[str, int]]:
    """The best response of each prompt that has one, and why the others have none."""
    reasons = Reasons(prompts)
    score = candidates.penalised(config.length_penalty)
    usable_rows = usable(config, candidates, reasons)
    ranking = rank(score, candidates.prompt, usable_rows, prompts)
    place = best_whole(config, candidates.truncated[ranking.order], ranking)
    reasons.mark("all_truncated", place == ranking.bounds[1:])
    settled = np.flatnonzero(reasons.none())
    best = ranking.order[place[settled]]
    if config.min_score is not None:
        low = np.zeros(prompts, bool)
        low[settled] = score[best] < config.min_score
        reasons.mark("low_score", low)
        best = best[~low[settled]]
    return best, reasons.counts()


STAGE = Stage(
    name="annotation.demonstrations", version=1, config=DemonstrationsConfig,
    inputs=DemonstrationsInputs, output=DEMONSTRATIONS, facts=DecidedBy, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)

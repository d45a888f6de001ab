"""Stage: the best response of each prompt as a demonstration (best of n, for SFT).

The table loads in SFT trainers as it is: `messages` is the whole conversation.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa

from annotation.config import DemonstrationsConfig
from annotation.pairs import answers
from annotation.scoring.prompt_lookup import Prompts
from annotation.selection.ranking import Candidates, Reasons, best_whole, per_prompt, rank, usable
from annotation.selection.scored_responses import (
    DecidedBy,
    candidates_of,
    conversations,
    only_annotator,
    policy_of,
    read_ahead,
    sources_of,
)
from contracts.errors import OnPolicyError
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import DEMONSTRATIONS, PROMPTS, RESPONSES, SCORES
from runtime.stage_process import main


class DemonstrationsInputs(Inputs):
    """Scored responses and their prompts."""

    prompts: Annotated[Path, PROMPTS]
    responses: Annotated[Path, RESPONSES]
    scores: Annotated[Path, SCORES]


def run(config: DemonstrationsConfig, inputs: DemonstrationsInputs, out: Path) -> Result:
    """Pick the demonstrations.

    Raises:
        UserError: the inputs do not belong together, or the annotator is unknown.
        OnPolicyError: no demonstration came out.
    """
    prompts = Prompts(inputs.prompts, ("messages", "split"))
    sources = sources_of(inputs.responses, inputs.scores)
    annotator = config.annotator or only_annotator(sources)
    rows, dropped = 0, Counter[str]()
    for index, (table, score) in enumerate(read_ahead(sources, annotator)):
        candidates, ids = candidates_of(table, score)
        best, reasons = best_of(config, candidates, len(ids))
        found = prompts.take(ids.take(pa.array(candidates.prompt[best])))
        count = per_prompt(candidates, usable(config, candidates, Reasons(len(ids))), len(ids))
        chosen = table.take(pa.array(best))
        columns = {
            "prompt_id": found["prompt_id"],
            "messages": conversations(found["messages"], answers(chosen["text"])),
            "response_id": chosen["response_id"],
            "score": candidates.penalised(config)[best],
            "candidates": count[candidates.prompt[best]].astype(np.int32),
            "split": found["split"],
        }
        write_part(out, index, pa.table(columns), DEMONSTRATIONS)
        rows += len(best)
        dropped.update(reasons)
    if not rows:
        raise OnPolicyError(
            f"no demonstration came out of {sum(dropped.values())} prompts: {dict(dropped)}"
        )
    facts = DecidedBy(policy=policy_of(inputs.responses), annotator=annotator)
    return Result(rows, dict(dropped), facts)


def best_of(
    config: DemonstrationsConfig, candidates: Candidates, prompts: int
) -> tuple[np.ndarray, dict[str, int]]:
    """The best response of each prompt that has one, and why the others have none."""
    reasons = Reasons(prompts)
    score = candidates.penalised(config)
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

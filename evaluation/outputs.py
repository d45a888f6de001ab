"""Stage: the policy's answers to the benchmark prompts, as AlpacaEval's own tools read them."""

import json
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_table, write_atomic
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.config import OutputsConfig
from runtime.stage_process import main


class OutputsInputs(Inputs):
    """The held-out and benchmark prompts, and the answers to them."""

    prompts: Annotated[Path, PROMPTS]
    responses: Annotated[Path, RESPONSES]


def run(config: OutputsConfig, inputs: OutputsInputs, out: Path) -> Result:
    """Write one object a prompt; prompts without an answer are counted as `unanswered`."""
    prompts = read_table(inputs.prompts)
    responses = read_table(inputs.responses, ["prompt_id", "sample", "text"])
    outputs = benchmark_outputs(prompts, responses, config.label.generator)
    text = json.dumps(outputs, ensure_ascii=False, indent=1)
    write_atomic(out / "model_outputs.json", text.encode())
    asked = pc.sum(pc.equal(prompts["split"], "benchmark")).as_py() or 0
    return Result(rows=len(outputs), dropped={"unanswered": asked - len(outputs)})


def benchmark_outputs(
    prompts: pa.Table, responses: pa.Table, generator: str
) -> list[dict[str, str]]:
    """The first answer to each benchmark prompt, in AlpacaEval's output format, in file order."""
    first = responses.filter(pc.field("sample") == 0)
    text_of = dict(zip(first["prompt_id"].to_pylist(), first["text"].to_pylist(), strict=True))
    benchmark = prompts.filter(pc.field("split") == "benchmark")
    return [
        {
            "dataset": row["source"],
            "instruction": row["messages"][-1]["content"],
            "output": text_of[row["prompt_id"]],
            "generator": generator,
        }
        for row in benchmark.to_pylist()
        if row["prompt_id"] in text_of
    ]


STAGE = Stage(
    name="evaluation.outputs", version=1, config=OutputsConfig, inputs=OutputsInputs,
    output="model_outputs.json", run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)

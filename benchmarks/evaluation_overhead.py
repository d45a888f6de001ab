"""`python -m benchmarks.evaluation_overhead`: benchmark answers against bare `LLM.generate`.

805 questions in AlpacaEval's format, the demo's prompts, from the table of questions to the
official files: planned, answered by a worker as `onpolicy evaluate` does, journaled, written, laid
out for the official tools. Bare vLLM answers the same ids with the same settings in this process,
all at once. Both take turns; the figure is the median over the passes of the ratio of tokens/s.
OpenMP gets one thread unless the environment says otherwise, as in `generation_overhead`.
"""

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.generation_overhead import bare, one_pass, start_llm
from benchmarks.support.generation_demo import CONTEXT, FOLDER, demo_prompts, job_of
from benchmarks.support.outcome import report_passes
from contracts.chat import ChatFormat
from contracts.models.model import load_tokenizer
from contracts.steps.step import run_once
from evaluation import answers, questions
from evaluation.benchmarks.alpaca_eval import AlpacaEval
from evaluation.config import AnswersConfig, QuestionsConfig
from generation.config import SampleConfig
from generation.engines import Engine, Job
from generation.engines.requests import Plan, plan_requests
from generation.engines.vllm import sampling_parameters
from generation.sample import open_engine
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.prompts import read_prompts
from generation.sampling.tables import Writer
from generation.sampling.turns import Turns
from generation.workers.placement import placement_for, warm_up
from runtime.progress import Progress

_PASSES = 7
_QUESTIONS = 805
_MAX_TOKENS = 64


def main() -> None:
    """Print the outcome."""
    if "OMP_NUM_THREADS" not in os.environ:
        # OpenMP reads it as torch is loaded, which this module's imports have done by now.
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.evaluation_overhead"])  # noqa: S606
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmark = _ask(folder)
        config = SampleConfig(n=1, max_tokens=_MAX_TOKENS, max_model_len=CONTEXT)
        chat = ChatFormat(load_tokenizer(str(FOLDER / "policy")))
        planned = _plan(folder, config, chat)
        job = job_of(config, chat, planned)
        placement = placement_for(config.engine)
        warm_up(placement, config.engine)
        llm = start_llm(job)
        engine = open_engine(placement, job)
        ours = partial(_answer, folder, benchmark, job, chat, engine)
        theirs = partial(bare, llm, dict(enumerate(planned)), sampling_parameters(job))
        sides: dict[str, Callable[[], int]] = {"bare": theirs, "ours": ours}
        passes = [one_pass(llm, sides, number) for number in range(_PASSES + 1)]
        engine.close()
    ratios = [one["ours"][0] / one["bare"][0] for one in passes[1:]]  # the first one warms up
    unit = "our tokens/s over bare LLM.generate's"
    report_passes("evaluation_overhead", ratios, 0.95, unit, questions=_QUESTIONS)


def _ask(folder: Path) -> AlpacaEval:
    """The table of questions in `folder / "questions"`."""
    path = folder / "alpaca_eval.json"
    rows = [{"instruction": one.messages[-1]["content"]} for one in demo_prompts(_QUESTIONS)]
    path.write_text(json.dumps(rows))
    benchmark = AlpacaEval(
        path=str(path), questions_sha256="any", preset="sampled", max_tokens=_MAX_TOKENS
    )
    inputs = questions.QuestionsInputs(sources=[str(path)])
    config = QuestionsConfig(benchmarks=[benchmark])
    run_once(questions.STAGE, config, inputs, folder / "questions")
    return benchmark


def _plan(folder: Path, config: SampleConfig, chat: ChatFormat) -> Plan:
    return plan_requests(read_prompts(folder / "questions"), config, chat, CONTEXT, Counter())


def _answer(folder: Path, benchmark: AlpacaEval, job: Job, chat: ChatFormat, engine: Engine) -> int:
    """All that lies between the questions and the official files; the tokens drawn."""
    planned = _plan(folder, job.config, chat)
    out, written = folder / "responses", folder / "answers"
    for old in (out, written):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir()
    journals, tally = Journals(out), Tally(0)
    turns = Turns(planned, folder / "questions", job.config, chat, CONTEXT)
    parts = turns.parts(range(len(planned)), out, journals)
    writer = Writer(chat.tokenizer, [], "benchmark")
    fill(parts, engine, journals, out, writer, tally, Progress(planned.requests, "samples"))
    inputs = answers.AnswersInputs(questions=folder / "questions", responses=out)
    answers.run(AnswersConfig(benchmarks=[benchmark]), inputs, written)
    return tally.tokens


if __name__ == "__main__":
    main()

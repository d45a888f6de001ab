"""The commands that look at models and judgements outside a run: `win-rate` and its like."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug, local_folder

ConfigPath = Annotated[Path, typer.Argument(help="A YAML config, e.g. configs/demo.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Dotted overrides.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")]
ScoresFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps the scores.  [default: in runs_dir]", callback=local_folder
    ),
]


def win_rate(
    annotations: Annotated[
        list[Path], typer.Argument(help="Files of judgements in the official format, one a model.")
    ],
    benchmark: Annotated[
        str, typer.Option(help="Whose format it is: alpaca_eval, arena_hard or mt_bench.")
    ],
    gamed: Annotated[
        str | None,
        typer.Option(help="AlpacaEval's df_gamed.csv, or owner/name@revision that has it."),
    ] = None,
    difficulty: Annotated[
        str | None, typer.Option(help="Its instruction_difficulty.csv, or owner/name@revision.")
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="The questions, where they are not the benchmark's own.")
    ] = None,
    answers: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="The model's and the baseline's answers, for Arena-Hard's style."),
    ] = None,
    resamples: Resamples = 1000,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Win rates with intervals, from files of judgements alone."""
    from evaluation.win_rates.estimate import Resampling
    from evaluation.win_rates.figures import FiguresFiles
    from flows.cli.win_rate import win_rate as figures

    files = FiguresFiles(gamed, difficulty, instructions, answers)
    typer.echo(figures(annotations, benchmark, files, Resampling(resamples), as_json))


def judge(
    answers: Annotated[Path, typer.Argument(help="A model's answers in the official format.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Keys of the judge, e.g. model=gpt-4.1 resources.max_cost=10."),
    ] = None,
    *,
    benchmark: Annotated[str, typer.Option(help="alpaca_eval, arena_hard or mt_bench.")],
    out: Annotated[
        Path,
        typer.Option(
            help="A folder for the judgements; the same one goes on.", callback=local_folder
        ),
    ],
    against: Annotated[
        Path | None, typer.Option(help="The baseline's answers (not for mt_bench).")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="question.jsonl (not for alpaca_eval).")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="MT-Bench's reference answers, e.g. gpt-4.jsonl.")
    ] = None,
    judge_config: Annotated[
        Path | None, typer.Option("--judge", help="A YAML file of the judge's keys.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Have an LLM judge a file of answers; run it again to go on."""
    from flows.cli.judging import judge as judge_answers

    files = {
        "answers": answers,
        "baseline": against,
        "questions": questions,
        "references": references,
    }
    typer.echo(judge_answers(benchmark, files, out, judge_config, overrides or []))


def evaluate_reward_model(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    questions: Annotated[
        str, typer.Option(help="A file of RewardBench 2's schema, or owner/name@revision.")
    ],
    out: ScoresFolder = None,
    resamples: Resamples = 1000,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """RewardBench 2's scoring of a config's annotators: what a reward model is worth."""
    from evaluation.win_rates.estimate import Resampling
    from flows.cli.reward_model import evaluate

    resampling = Resampling(resamples)
    typer.echo(evaluate(config, overrides or [], questions, out, resampling, as_json))


def reward_win_rate(
    config: ConfigPath,
    outputs: Annotated[Path, typer.Argument(help="A model's outputs in AlpacaEval's format.")],
    overrides: Overrides = None,
    *,
    against: Annotated[Path, typer.Option(help="The outputs that they are compared with.")],
    out: ScoresFolder = None,
    resamples: Resamples = 1000,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How often a config's annotators score one file of outputs above another."""
    from evaluation.win_rates.estimate import Resampling
    from flows.cli.reward_win_rate import reward_win_rate as rate

    resampling = Resampling(resamples)
    typer.echo(rate(config, overrides or [], outputs, against, out, resampling, as_json))

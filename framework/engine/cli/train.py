"""``engine train``: a config becomes a trained model, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.build import Built
    from engine.config.schema import EngineConfig


def command(
    config: Annotated[
        Path, typer.Argument(help="The config, a YAML file with a `train:` section.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run's folder (runs/NAME).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole checkpoint.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a run that is in the folder.")
    ] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Train a model: RUN/model is the artifact, RUN/checkpoints is where a broken run goes on.

    Several processes: torchrun --nproc-per-node 2 -m engine train CONFIG -o RUN. Ctrl-C and SIGTERM
    finish the step, save and leave.
    """
    from engine.config import load_config

    settings = load_config(config, overrides or ())
    folder = output or Path("runs") / settings.name
    from engine.size import config_size

    config_size(settings).check()
    from engine.train.run import train

    built, report = train(settings, folder, resume=resume, force=force, judge=judge_of, say=_say)
    if report is None:
        return
    from engine.cli.tables import human, print_json, print_warning, stdout

    artifact = folder / "model"
    if json:
        print_json(
            {"run": str(folder), "artifact": str(artifact), "bytes": report.total,
             "stages": built.manifest["stages"], "scores": built.manifest["scores"],
             "warnings": built.warnings}
        )  # fmt: skip
    else:
        from engine.cli.show import stages_table

        stdout().print(stages_table(settings.name, built.manifest["stages"]))
        stdout().print(
            f"written to {artifact} ({human(report.total)}); `engine show {folder}` draws the"
            " curves", highlight=False, markup=False,
        )  # fmt: skip
    for warning in built.warnings:
        print_warning(warning)


def _say(line: str) -> None:
    typer.echo(f"{line} ...", err=True)


def judge_of(built: Built) -> Callable[[], Mapping[str, float]] | None:
    """Judges a model in memory on ``data.evaluate``; ``None`` where the config names no such data.

    Gives ``accuracy``, the plain mean in percent, and ``accuracy <data set>`` where there are
    several.
    """
    config: EngineConfig = built.config
    if not config.data.evaluate:
        return None
    from engine.evaluate.predictor import Predictor
    from engine.evaluate.runner import run, score_runs

    datasets = [use.create() for use in config.data.evaluate]
    workers = config.train.workers if config.train else None

    def judge() -> Mapping[str, float]:
        predictor = Predictor(built)
        score = score_runs([run(predictor, dataset, workers=workers) for dataset in datasets])
        if score is None:
            return {}
        found: dict[str, Any] = {"accuracy": score.accuracy}
        if len(score.datasets) > 1:
            found |= {f"accuracy {each.name}": each.accuracy for each in score.datasets}
        return found

    return judge

"""``engine train``: a config becomes a trained model, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from engine.train.dry_run import Estimate

from engine.cli.inputs import check_folder, sources_of
from engine.cli.options import Json, Overrides
from engine.core.progress import in_words


def command(
    config: Annotated[
        Path, typer.Argument(help="The config, a YAML file with a `train:` section.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run's folder (runs/NAME).")
    ] = None,
    mode: Annotated[str | None, typer.Argument(hidden=True)] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last whole checkpoint; `--resume auto`: or begin.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Measure for a minute: expected time, memory, disk. Writes nothing."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a run that is in the folder.")
    ] = False,
    on: Annotated[
        Literal["ray"] | None, typer.Option(help="Train on a Ray cluster (`pip install ray`).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on the cluster.")] = 2,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of the config's train.device: auto, cpu, cuda, cuda:1, mps.",
        ),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Train a model: RUN/model is the artifact, RUN/checkpoints is where a broken run goes on.

    RUN is a model for every command; RUN@best, RUN@last and RUN@1200 are its checkpoints.

    Several processes: torchrun --nproc-per-node 2 -m engine train CONFIG -o RUN; or --on ray.
    Ctrl-C and SIGTERM finish the step, save and leave.
    """
    from engine.core.config import EngineConfig, load_located

    config, how = _resume(config, mode, resume=resume)
    given = [*(overrides or ()), *([] if device is None else [f"train.device={device}"])]
    settings, places = load_located(EngineConfig, config, given)
    folder = output or Path("runs") / settings.name
    from engine.core.size import config_size

    if force:
        check_folder(folder, [config, *sources_of(settings)])
    config_size(settings).check()
    if dry_run:
        from engine.train.dry_run import estimate

        with places.located():
            _show(settings.name, estimate(settings, progress=_say), as_json=json)
        return
    if on is not None:
        from engine.train.on_ray import train_on_ray

        outcome = train_on_ray(settings, folder, workers=workers, resume=how, force=force)
        _tell(settings.name, folder, outcome, as_json=json)
        return
    from engine.train.run import train

    with places.located():
        built, report = train(settings, folder, resume=how, force=force, progress=_say)
    if report is not None:
        outcome = {"manifest": built.manifest, "bytes": report.total, "warnings": built.warnings}
        _tell(settings.name, folder, outcome, as_json=json)


def _resume(config: Path, mode: str | None, *, resume: bool) -> tuple[Path, bool | Literal["auto"]]:
    """The config, and how to go on: ``auto`` may stand behind ``--resume``.

    Raises:
        DataError: a further argument that is not ``auto``.
    """
    from engine.errors import DataError

    if mode is None:
        return config, resume
    if str(config) == "auto":  # `--resume auto CONFIG`
        config, mode = Path(mode), "auto"
    if mode != "auto" or not resume:
        raise DataError(
            f"`{mode}` is one argument too many",
            hint="`--resume auto` goes on, or begins where there is no run; `engine train CONFIG`"
            " takes one config",
        )
    return config, "auto"


def _show(name: str, found: Estimate, *, as_json: bool) -> None:
    """Print what a run would take."""
    from dataclasses import asdict

    from rich.table import Table

    from engine.cli.tables import human, stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json({"name": name, **asdict(found)})
        return
    table = Table(title=f"{name}: {found.rows:,} rows on {found.device}, expected")
    for column in (
        "stage",
        "steps",
        "measured",
        "s a step, first epoch",
        "later",
        "rows/s",
        "time",
    ):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in found.stages:
        table.add_row(
            stage.name, f"{stage.steps:,}", f"{stage.measured_steps:,}",
            f"{stage.first_seconds:.3f}", f"{stage.later_seconds:.3f}",
            f"{stage.samples_per_second:,.1f}", _time(stage.seconds),
        )  # fmt: skip
    gpu = f", {human(found.device_memory_bytes)} on the GPU" if found.device_memory_bytes else ""
    stdout().print(table)
    stdout().print(
        f"time {_time(found.seconds)}, of it {_time(found.start_seconds)} to start (without"
        f" evaluations and checkpoints); memory {human(found.memory_bytes)}{gpu}; disk"
        f" {human(found.disk_bytes)}: weights {human(found.artifact_bytes)}, a checkpoint"
        f" {human(found.checkpoint_bytes)}, caches {human(found.cache_bytes)}. Measured in"
        f" {found.measured_seconds:.0f} s; nothing was written",
        soft_wrap=True,
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _tell(name: str, folder: Path, outcome: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what came out."""
    from engine.cli.tables import human, print_warning, stdout
    from engine.core.terminal import print_json
    from engine.train.chance import chance_warning
    from engine.train.names import MODEL

    artifact, manifest = folder / MODEL, outcome["manifest"]
    chance = chance_warning(manifest["scores"])
    warnings = list(outcome["warnings"])
    warnings += [line for stage in manifest["stages"] for line in stage.get("warnings", ())]
    warnings += [] if chance is None else [chance]
    if as_json:
        print_json(
            {"run": str(folder), "artifact": str(artifact), "bytes": outcome["bytes"],
             "stages": manifest["stages"], "scores": manifest["scores"],
             "trained_weights": manifest["trained_weights"],
             "warnings": warnings}
        )  # fmt: skip
    else:
        from engine.cli.show import stages_table

        stdout().print(stages_table(name, manifest["stages"]))
        stdout().print(
            f"written to {artifact} ({human(outcome['bytes'])}): the"
            f" {manifest['trained_weights']}; `engine show {folder}` draws the curves",
        )  # fmt: skip
    for warning in warnings:
        print_warning(warning)


def _say(what: str, done: float = 0, total: float | None = None, /) -> None:
    typer.echo(f"{in_words(what, done, total)} ...", err=True)

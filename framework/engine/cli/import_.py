"""``engine import``: another program's checkpoint becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.inputs import check_folder, sources_of
from engine.cli.options import Json, Overrides


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="safetensors, or a torch file of weights only; or a folder of transformers."
        ),
    ],
    config: Annotated[Path, typer.Option("--config", help="The config of the checkpoint's model.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Artifact folder (build/NAME).")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Key layout (`engine plugins checkpoint_adapter`); default: found by its names."
        ),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Import a checkpoint by the names of its tensors. No pickle in it is ever executed."""
    from engine.core.config import load_config

    settings = load_config(config, overrides or ())
    folder = output or Path("build") / settings.name
    check_folder(folder, [checkpoint, config, *sources_of(settings)])

    from engine.cli.build import show_built
    from engine.cli.progress import working
    from engine.core.build import save
    from engine.exchange.importing import import_checkpoint

    with working(f"importing {checkpoint.name}") as say:
        built = import_checkpoint(checkpoint, settings, layout, say=say)
        say("writing")
        report = save(built, folder)
    show_built(built, report, folder, as_json=json)

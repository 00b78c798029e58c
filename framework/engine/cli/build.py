"""``engine build``: a config becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.inputs import check_folder, sources_of
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.build import Built
    from engine.size import SizeReport


def command(
    config: Annotated[Path, typer.Argument(help="The config, a YAML file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Artifact folder (build/NAME).")
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Build a model: weights loaded (or random, where the config allows), tokenizer, artifact."""
    from engine.config import load_config
    from engine.size import config_size

    settings = load_config(config, overrides or ())
    config_size(settings).check()
    folder = output or Path("build") / settings.name
    check_folder(folder, [config, *sources_of(settings)])

    from engine.build import build, save
    from engine.cli.progress import working

    with working(f"building {settings.name}") as say:
        built = build(settings, say)
        say("writing")
        report = save(built, folder)
    show_built(built, report, folder, as_json=json)


def show_built(built: Built, report: SizeReport, folder: Path, *, as_json: bool) -> None:
    """Print what was built: table, warnings, where it lies."""
    from engine.cli.tables import print_warning, size_table, stdout
    from engine.terminal import print_json

    weights = built.manifest["weights"]
    if as_json:
        print_json(
            {**report.to_json(), "artifact": str(folder), "weights": weights,
             "tokenizer": built.manifest["tokenizer"], "clusters": built.manifest.get("clusters"),
             "warnings": built.warnings}
        )  # fmt: skip
    else:
        origins = {part: f"{o['source']} ({o['initialised']})" for part, o in weights.items()}
        origins |= {p: "-" for p, o in weights.items() if o["initialised"] == "none"}
        stdout().print(size_table(report, origins))
        stdout().print(
            f"tokenizer: {built.manifest['tokenizer']['origin']},"
            f" {built.manifest['tokenizer']['vocab_size']:,} ids",
            markup=False,
        )  # fmt: skip
        if built.clusters is not None:
            from engine.cli.cluster import summary

            stdout().print(summary(built.clusters, folder))
    for warning in built.warnings:
        print_warning(warning)
    if not as_json:
        stdout().print(f"written to {folder}")

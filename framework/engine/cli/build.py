"""``engine build``: a config becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.inputs import check_folder, sources_of
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.core.build import Built
    from engine.core.size import SizeReport


def command(
    config: Annotated[Path, typer.Argument(help="The config, a YAML file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Artifact folder (build/NAME).")
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Build a model: weights loaded (or random, where the config allows), tokenizer, artifact."""
    from engine.core.config import load_config
    from engine.core.size import config_size

    settings = load_config(config, overrides or ())
    config_size(settings).check()
    folder = output or Path("build") / settings.name
    check_folder(folder, [config, *sources_of(settings)])

    from engine.cli.progress import working
    from engine.clusters import build_clustered
    from engine.core.build import save

    with working(f"building {settings.name}") as progress:
        built = build_clustered(settings, progress)
        progress("writing")
        report = save(built, folder)
    show_built(built, report, folder, as_json=json)


def show_built(built: Built, report: SizeReport, folder: Path, *, as_json: bool) -> None:
    """Print what was built: table, warnings, where it lies."""
    from engine.cli.tables import print_warning, size_table, stdout
    from engine.core.terminal import print_json

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
        from engine.cli.cluster import summary
        from engine.clusters import clusters_of

        clusters = clusters_of(built)
        if clusters is not None:
            stdout().print(summary(clusters, folder))
    for warning in built.warnings:
        print_warning(warning)
    if not as_json:
        stdout().print(f"written to {folder}")

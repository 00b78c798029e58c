"""``engine import``: a model of another program becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.inputs import check_folder, sources_of
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.core.build import Built
    from engine.core.progress import Progress

_SCHEMES = ("open_clip:", "hf:", "file:")


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="open_clip:ARCH/TAG, hf:OWNER/NAME, or a folder of open_clip, transformers or"
            " sentence-transformers; with --config also one file of weights."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="The config of the model, where the source does not describe itself."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Artifact folder (build/NAME).")
    ] = None,
    vision: Annotated[
        str | None,
        typer.Option(help="Another source, for the vision tower (a sentence encoder has none)."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Another source, for the text encoder and its tokenizer.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="With --config: the checkpoint adapter (`engine plugins checkpoint_adapter`);"
            " default: found by the names of the tensors.",
        ),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Import a model of another program. No pickle is executed, and no code from a repository.

    The config is written from the source's own description (config.json, open_clip_config.json,
    modules.json, what open_clip knows of its weights). Everything that it says is held against the
    model; what cannot be represented exactly is refused, by the name of the setting.
    """
    from engine.cli.build import show_built
    from engine.cli.progress import working
    from engine.core.build import save

    if config is not None:
        _check_unused(vision=vision, text=text)
        settings_of, folder = _with_config(source, config, output, layout, overrides)
    else:
        _check_unused(adapter=layout)
        settings_of, folder = _by_name(source, output, vision, text, overrides)
    with working(f"importing {source}") as progress:
        built = settings_of(progress)
        progress("writing")
        report = save(built, folder)
    show_built(built, report, folder, as_json=json)


if TYPE_CHECKING:
    from collections.abc import Callable

    Import = Callable[[Progress], Built]


def _with_config(
    source: str,
    config: Path,
    output: Path | None,
    layout: str | None,
    overrides: list[str] | None,
) -> tuple[Import, Path]:
    from engine.core.config import load_config

    path = Path(source.removeprefix("file:"))
    settings = load_config(config, overrides or ())
    folder = output or Path("build") / settings.name
    check_folder(folder, [path, config, *sources_of(settings)])

    def run(progress: Progress) -> Built:
        from engine.exchange.importing import import_checkpoint

        return import_checkpoint(path, settings, layout, progress=progress)

    return run, folder


def _by_name(
    source: str,
    output: Path | None,
    vision: str | None,
    text: str | None,
    overrides: list[str] | None,
) -> tuple[Import, Path]:
    from engine.exchange.proposing import name_of

    named = [_named(each) for each in (source, vision, text) if each is not None]
    folder = output or Path("build") / name_of(named[0])
    check_folder(folder, [Path(n.removeprefix("file:")) for n in named if n.startswith("file:")])

    def run(progress: Progress) -> Built:
        from engine.exchange.by_name import import_source

        return import_source(
            named[0],
            vision=None if vision is None else _named(vision),
            text=None if text is None else _named(text),
            overrides=overrides or (),
            progress=progress,
        )

    return run, folder


def _named(source: str) -> str:
    """A source with its scheme: a path without one is a folder on this disk."""
    return source if source.startswith(_SCHEMES) else f"file:{source}"


def _check_unused(**given: str | None) -> None:
    """Refuse options that the chosen way of importing does not read."""
    from engine.errors import DataError

    for name, value in given.items():
        if value is not None:
            other = "without" if name in ("vision", "text") else "with"
            raise DataError(f"--{name} is used {other} --config alone")

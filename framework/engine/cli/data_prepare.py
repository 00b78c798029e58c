"""``engine data prepare``: tokens, digests, labels and the start of a training, once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.prepare.work import Share


def command(
    config: Annotated[Path, typer.Argument(help="The config that is to be trained.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Instead of the config's data.prepared (build/prepared)."),
    ] = None,
    worker: Annotated[
        str,
        typer.Option(
            metavar="I/N", help="Compute the parts of process I of N (from 1), in a shared folder."
        ),
    ] = "1/1",
    on: Annotated[
        Literal["ray"] | None, typer.Option(help="Compute on a Ray cluster (`pip install ray`).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on the cluster.")] = 2,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Compute once what every training of CONFIG needs of its data.

    Every text is tokenised, every row gets its cluster, and the model before training is built; all
    of it is kept in files that training maps into memory. `engine train CONFIG` then starts in
    seconds, with the same numbers. Ctrl-C loses one part; the same command goes on. Changed data,
    another tokenizer or other clusters are prepared beside what is there.
    """
    from dataclasses import asdict

    from engine.cli.progress import sharing
    from engine.cli.tables import human, stdout
    from engine.core.config import load_config
    from engine.core.terminal import print_json
    from engine.prepare.work import prepare

    share = _share(worker)
    given = [*(overrides or ()), *([] if folder is None else [f"data.prepared={folder}"])]
    settings = load_config(config, given)
    if on is not None:
        from engine.train.on_ray import prepare_on_ray

        prepare_on_ray(settings, workers=workers)
    with sharing() as progress:  # after Ray: joins what may be left to join, and counts
        found = prepare(settings, share, progress)
    if json:
        print_json({**asdict(found), "folder": str(found.folder)})
        return
    if found.missing:
        stdout().print(
            f"{found.missing} parts of other processes are missing: whoever ends last joins them"
        )
        return
    labels = ", cluster labels" if found.clusters else ""
    stdout().print(
        f"{settings.name}: {found.rows:,} rows, {found.texts:,} texts, {found.sequences:,}"
        f" different token sequences{labels} in {found.folder} ({human(found.bytes)});"
        f" `engine train {config}` uses them",
        soft_wrap=True,
    )


def _share(text: str) -> Share:
    """``2/8`` -> the second of eight.

    Raises:
        DataError: it is not of this form, or there is no such process.
    """
    from engine.errors import DataError
    from engine.prepare.work import Share

    match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise DataError(f"--worker {text}: expected I/N, for example 2/8, the second of eight")
    return Share(int(match[1]) - 1, int(match[2]))

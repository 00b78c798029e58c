"""``engine embed``: activations of any data, one file for each shard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.options import Device, Json

if TYPE_CHECKING:
    from engine.contracts.dataset import Dataset


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="A click log (metadata.json), a folder of pictures, shards (a folder or a URL of"
            " tars or parquet), or a config's data.train."
        ),
    ],
    model: Annotated[Path, typer.Option("-m", "--model", help="An artifact or a training run.")],
    output: Annotated[
        str,
        typer.Option("-o", "--output", help="A folder, or a URL: s3://bucket/folder, memory://x."),
    ],
    point: Annotated[
        Literal["pooled", "embedding"],
        typer.Option(help="pooled: the tower's output, for training; embedding: the joint space."),
    ] = "pooled",
    rows: Annotated[int, typer.Option(min=1, help="Rows of a shard.")] = 10_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 32,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode pictures (one a core, max 8).")
    ] = None,
    device: Device = "cpu",
    force: Annotated[
        bool, typer.Option("--force", help="Replace shards of another model or of other data.")
    ] = False,
    json: Json = False,
) -> None:
    """Write what the vision tower gives for every picture, one parquet file for each shard.

    Shards that are there are skipped, so the same command goes on after a stop, and gives the same
    bytes. A config then trains on them: {use: activations, path: FOLDER}. Broken pictures are left
    out and listed.
    """
    from dataclasses import asdict

    from engine.cli.predict import open_predictor
    from engine.cli.progress import counting
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json
    from engine.data.store_folder import StoreFolder
    from engine.evaluate.embed import embed

    place, dataset = StoreFolder(output), _open(data)
    predictor = open_predictor(model, None, device=device)
    try:
        with counting() as progress:
            done = embed(
                predictor, dataset, place, point=point, rows=rows, batch_size=batch_size,
                workers=workers, force=force,
                progress=progress,
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("every finished shard is kept; the same command goes on")
        raise
    if json:
        print_json({**asdict(done), "output": output, "point": point})
    else:
        stdout().print(
            f"{dataset.name}: {done.shards} shards in {output}, {done.skipped} of them were there;"
            f" {done.rows:,} vectors computed", soft_wrap=True,
        )  # fmt: skip
    if done.broken:
        shown = [f"  {id_}: {reason}" for id_, reason in list(done.broken.items())[:20]]
        print_warning(f"{len(done.broken)} broken images have no vector:\n" + "\n".join(shown))


def _open(given: str) -> Dataset:
    from engine.data.formats import CLICK_LOG, SHARDS
    from engine.data.picture_folder import PictureFolder
    from engine.errors import DataError

    data = Path(given)
    if "://" in given or any(data.glob("*.tar")) or any(data.glob("*.parquet")):
        return _read_as(SHARDS, given)
    if data.suffix in (".yaml", ".yml"):
        from engine.core.config import load_config

        config = load_config(data)
        if config.data.train is None:
            raise DataError(f"{data}: `data.train` names no data set to embed")
        return config.data.train.create()
    if (data / "metadata.json").is_file():
        return _read_as(CLICK_LOG, given)
    return PictureFolder(data, [])


def _read_as(format: str, path: str) -> Dataset:
    from engine.core.registry import default_registry

    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(format))
    return plugin.load()(plugin.load_settings().model_validate({"path": path}))  # type: ignore[no-any-return]

"""``engine show``: a run's stages and scores as a table, its curves as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.inputs import check_files, files_of_run
from engine.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

    from engine.train.history import Story


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    html: Annotated[
        Path | None,
        typer.Option(help="Where the page goes (RUN/curves.html; curves.html for several runs)."),
    ] = None,
    json: Json = False,
) -> None:
    """Show runs, finished or under way: stages and scores, and a page with their curves.

    Several runs are drawn in the same charts, a line for each.
    """
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json
    from engine.train.curves import read_run, unique, write_page

    found = [read_run(run) for run in runs]
    page = html or (runs[0] / "curves.html" if len(runs) == 1 else Path("curves.html"))
    check_files([page], [file for run in runs for file in files_of_run(run)])
    write_page(page, found)
    if json:
        shown = [
            {"run": str(run), "stages": each.story.stages, "points": len(each.story.points),
             "notes": [list(note) for note in each.story.notes]}
            for run, each in zip(runs, found, strict=True)
        ]  # fmt: skip
        print_json({"html": str(page), **(shown[0] if len(runs) == 1 else {"runs": shown})})
        return
    for name, each in zip(unique([each.name for each in found]), found, strict=True):
        _show(name, each.story)
    stdout().print(f"curves written to {page}")


def _show(name: str, story: Story) -> None:
    from engine.cli.tables import stdout

    stdout().print(stages_table(name, story.stages))
    if story.points:
        last = story.points[-1]
        words = ", ".join(
            f"{name} {value:.4g}" for name, value in last.items()
            if isinstance(value, (int, float)) and name not in ("step", "stage", "epoch")
        )  # fmt: skip
        stdout().print(f"step {last['step']}: {words}")


def stages_table(name: str, stages: Sequence[Mapping[str, Any]]) -> Table:
    """The stages that are over."""
    from rich.table import Table

    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("stage", overflow="fold", min_width=16)
    table.add_column("trains", overflow="fold")
    for column in ("steps", "samples/s", "loss", "accuracy", "chance"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in stages:
        accuracy, chance = (stage["scores"].get(name) for name in ("accuracy", "chance"))
        table.add_row(
            stage["name"], trains_in_words(stage["trains"]),
            f"{stage['steps']:,}", f"{stage['samples_per_second']:,.0f}",
            "-" if stage["loss"] is None else f"{stage['loss']:.4f}",
            "-" if accuracy is None else f"{accuracy:.2f} %",
            "-" if chance is None else f"{chance:.2f} %",
        )  # fmt: skip
    if not stages:
        table.caption = "no stage is over yet"
    return table


def trains_in_words(trains: Mapping[str, Any]) -> str:
    """``text: last 3, embeddings; projections``."""
    words = []
    for tower, stem in (("vision", "stem"), ("text", "embeddings")):
        trained = trains[tower]
        if isinstance(trained, bool):
            words += [f"{tower}: all"] if trained else []
            continue
        parts = [str(trained["blocks"])] if trained["blocks"] != "none" else []
        parts += [stem] if trained[stem] else []
        parts += ["head"] if trained["head"] else []
        words += [f"{tower}: {', '.join(parts)}"] if parts else []
    projections = [tower for tower in ("vision", "text") if trains[f"{tower}_projection"]]
    if len(projections) == 2:
        words.append("projections")
    elif projections:
        words.append(f"{projections[0]} projection")
    return "; ".join(words)

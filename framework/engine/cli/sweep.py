"""``engine sweep``: settings searched over, under a limit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.inputs import check_files
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from rich.table import Table

    from engine.core.progress import Progress
    from engine.sweep.report import SweepReport


def command(
    sweep: Annotated[Path, typer.Argument(help="The sweep, a YAML file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Its folder (build/sweeps/NAME).")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the trials and their bytes; train nothing.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes (FOLDER/sweep.html).")
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Try combinations of settings; the best trial is a model, FOLDER/best.yaml its config.

    A trial over the limit is refused before anything is trained. The others train for a share of
    their steps, the best go on from there, and the rest end (successive halving). Ctrl-C loses
    nothing: the same command goes on.
    """
    from engine.core.files import write_text
    from engine.sweep.page import page
    from engine.sweep.run import PAGE, planned, run_sweep
    from engine.sweep.settings import load_sweep

    settings = load_sweep(sweep, overrides or [])
    out = output or Path("build/sweeps") / settings.name
    target = html or out / PAGE
    check_files([target], [sweep, settings.config])
    if plan:
        _tell(planned(settings, out), None, as_json=json)
        return
    with _watching() as progress:
        report = run_sweep(settings, out, progress=progress)
    write_text(target, page(report))
    _tell(report, target, as_json=json)
    if report.best is None:
        from engine.errors import TrainingError

        raise TrainingError("not one trial was trained to its end; the table says why of each")


@contextmanager
def _watching() -> Iterator[Progress]:
    """A bar on a terminal; elsewhere a line for each training."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from engine.core.progress import in_words
    from engine.core.terminal import console, live

    shown = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
               MofNCompleteColumn(), TimeElapsedColumn())  # fmt: skip
    with live(Bars(*columns, console=shown, disable=not shown.is_terminal)) as bar:
        task = bar.add_task("sweep", total=None)

        def show(what: str, done: float = 0, total: float | None = None, /) -> None:
            bar.update(task, completed=done, total=total, description=what)
            if not shown.is_terminal and done < (total or 0):
                print(f"{in_words(what, done, total)} done", file=sys.stderr)

        yield show


def _tell(report: SweepReport, page: Path | None, *, as_json: bool) -> None:
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json({**report.to_json(), "html": None if page is None else str(page)})
        return
    stdout().print(_table(report))
    if report.whole:
        share = report.trained / report.whole
        stdout().print(
            f"trained {report.trained:,} of the {report.whole:,} steps that all trials take"
            f" ({share:.0%})"
        )
    for note in report.notes():
        print_warning(note)
    if report.model is not None:
        stdout().print(f"the best: {report.model}; its config: {report.best_config}")
    if page is not None:
        stdout().print(f"the page: {page}")


def _table(report: SweepReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    from engine.sweep.report import HEADS, cells, short_keys

    keys = list(report.rows[0].values) if report.rows else []
    chance = "" if report.chance is None else f"; chance {report.chance:.1f} %"
    table = Table(
        title=f"{report.name}: {report.score}{chance}", title_justify="left", title_style="bold"
    )
    table.add_column("trial", justify="right", no_wrap=True)
    for name in short_keys(keys) if keys else []:
        table.add_column(Text(name), overflow="fold")
    for name in HEADS[:-1]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(HEADS[-1], overflow="fold")
    for row in report.rows:
        style = {"best": "bold", "refused": "dim", "failed": "red"}.get(row.status, "")
        table.add_row(*map(Text, cells(report, row)), style=style)
    return table

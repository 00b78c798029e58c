"""What a user sees while waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from engine.core.terminal import console, live

if TYPE_CHECKING:
    from rich.progress import Progress


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr for work of unknown length; gives a function that names the step."""
    with live(console(stderr=True).status(what)) as status:
        yield lambda line: status.update(f"{what}: {line}")


@contextlib.contextmanager
def counting(*, transient: bool = False) -> Iterator[Progress]:
    """Bars on stderr that count: done, of how many, the time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with live(Progress(*columns, console=console(stderr=True), transient=transient)) as bar:
        yield bar


@contextlib.contextmanager
def sharing() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr; gives a function that receives what is done and how far it is (0..1)."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               TimeElapsedColumn())  # fmt: skip
    with live(Progress(*columns, console=console(stderr=True), transient=True)) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def tracking(rows: Iterable[int], what: str, count: int) -> Iterator[int]:
    """Give ``rows`` while a bar on stderr counts them."""
    with counting() as bar:
        task = bar.add_task(what, total=count)
        for row in rows:
            yield row
            bar.advance(task)

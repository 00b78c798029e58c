"""What a user sees while waiting: the commands' renderings of ``engine.core.progress``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from engine.core.progress import Progress, in_words
from engine.core.terminal import console, live


@contextlib.contextmanager
def working(what: str) -> Iterator[Progress]:
    """A spinner on stderr, with the step behind ``what``: for work of many short steps."""
    with live(console(stderr=True).status(what)) as status:

        def show(step: str, done: float = 0, total: float | None = None, /) -> None:
            status.update(f"{what}: {in_words(step, done, total)}")

        yield show


@contextlib.contextmanager
def counting(*, transient: bool = False) -> Iterator[Progress]:
    """Bars on stderr, one for each name that was given: done, of how many, the time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with live(Bars(*columns, console=console(stderr=True), transient=transient)) as bars:
        tasks = {}

        def show(step: str, done: float = 0, total: float | None = None, /) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield show


@contextlib.contextmanager
def sharing() -> Iterator[Progress]:
    """One bar on stderr, which begins again at each step: for work of a few long steps."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               TimeElapsedColumn())  # fmt: skip
    with live(Bars(*columns, console=console(stderr=True), transient=True)) as bars:
        task = bars.add_task("starting", total=None)

        def show(step: str, done: float = 0, total: float | None = None, /) -> None:
            bars.update(task, description=step, completed=done, total=total)

        yield show


def tracking(rows: Iterable[int], what: str, count: int) -> Iterator[int]:
    """Give ``rows`` while a bar on stderr counts them."""
    with counting() as progress:
        progress(what, 0, count)
        for done, row in enumerate(rows, start=1):
            yield row
            progress(what, done, count)

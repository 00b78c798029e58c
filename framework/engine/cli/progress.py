"""What a user sees while waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr for work of unknown length; gives a function that names the step."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) as status:
        yield lambda line: status.update(f"{what}: {line}")

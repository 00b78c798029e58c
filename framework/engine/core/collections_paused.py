"""Moments without garbage collection, while very many objects are made that all stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collection inside.

    Imports, and vocabularies of some hundred thousand entries, make objects by the hundred thousand
    and hardly any garbage, and each collection that they start walks through all objects (a tenth
    of the time of `engine size`).
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

"""Class names on the command line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

MAX_BYTES = 16 << 20


def parse_classes(values: Sequence[str]) -> list[str]:
    """Class names of ``--classes``: separated by commas, quoted as in CSV, or ``@FILE``.

    Args:
        values: each ``кошка,собака``, ``"a, b",c``, or ``@`` and a text file of one name a line.

    Raises:
        DataError: no name, an empty one, one twice; the file cannot be read.
    """
    from engine.evaluate.inputs import check_classes

    names: list[str] = []
    for value in values:
        if value.startswith("@"):
            names += _of_file(Path(value[1:]))
        else:
            names += [name.strip() for name in next(csv.reader([value], skipinitialspace=True), [])]
    return list(check_classes(names))


def _of_file(path: Path) -> list[str]:
    from engine.core.regular_file import read_regular
    from engine.errors import DataError

    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"--classes @{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--classes @{path} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]

"""Tables on narrow terminals: names go on in the next line, and numbers are never cut."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

_NARROWEST = 8  # cells of a column of text before the numbers beside it are cut


def room_for_numbers(table: Table, options: ConsoleOptions) -> ConsoleOptions:
    """Let text fold and numbers stay whole, in a table wider than the terminal if need be.

    Args:
        table: its columns are changed: what would end in an ellipsis is folded, and columns at the
            right, which hold numbers, are not broken.
        options: how the table would be rendered.

    Returns:
        The options, with as much room as the numbers need.
    """
    needed = 1
    for column in table.columns:
        number = column.justify == "right" or column.no_wrap
        if column.overflow == "ellipsis":
            column.overflow = "fold"
        column.no_wrap = column.no_wrap or number
        widest = _widest(table, column)
        needed += (widest if number else min(widest, column.min_width or _NARROWEST)) + 3
    return options if needed <= options.max_width else options.update(width=needed)


def _widest(table: Table, column: Column) -> int:
    cells = [*([column.header] if table.show_header else []), *column.cells]
    texts = (cell.plain if isinstance(cell, Text) else str(cell) for cell in cells)
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)

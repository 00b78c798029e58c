"""What a page of the documents asks its reader to do, read from its fenced blocks.

- ``bash`` and ``python`` blocks are run in order, in one folder.
- A block with ``title="NAME"`` is a file of that name.
- ``text`` blocks show something.
- ``<!-- not run: reason -->`` on the line before a block leaves it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"```(\w*)(?: title=\"([^\"]+)\")?")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of its fence, from 1.
        language: after the fence.
        title: the file that it is, or "".
        text: what it holds.
        left_out: why it is not run, or "".
    """

    line: int
    language: str
    title: str
    text: str
    left_out: str


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    begun: tuple[int, str, str, str] | None = None
    inside: list[str] = []
    before = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if begun is not None:
            if line == "```":
                start, language, title, left_out = begun
                found.append(Block(start, language, title, "\n".join(inside) + "\n", left_out))
                begun, inside = None, []
            else:
                inside.append(line)
        elif match := _FENCE.fullmatch(line):
            mark = _NOT_RUN.fullmatch(before)
            begun = (number, match[1], match[2] or "", mark[1] if mark else "")
        else:
            assert not line.lstrip().startswith("```"), f"{path}:{number}: a fence like no other"
        before = line
    assert begun is None, f"{path}: a block that does not end"
    return found

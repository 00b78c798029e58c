"""Sizes for a pull request (what changed since an earlier ``engine size --json``), and for badges.

Nothing here needs more than pydantic and rich.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.cli.tables import human, verdict
from engine.core.regular_file import read_regular
from engine.core.size import SizeReport
from engine.core.strict_json import parse_json
from engine.errors import DataError
from engine.printable import one_line

_MAX_BYTES = 64 << 20
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_Text = Annotated[str, Field(max_length=10_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class BasePart(_Strict):
    """A part of a model before the change."""

    name: _Text
    bytes: _Count


class BaseModelSize(_Strict):
    """A model before the change."""

    name: _Text
    path: _Text = ""
    bytes: _Count
    parts: Annotated[list[BasePart], Field(max_length=10_000)] = []


class Base(_Strict):
    """What ``engine size --json`` printed before the change."""

    models: Annotated[list[BaseModelSize], Field(max_length=10_000)]

    def of(self, report: SizeReport, asked: int) -> BaseModelSize | None:
        """The same model before: by its path, else by its name; of two single models, the other.

        Args:
            report: the model now.
            asked: how many models are compared.
        """
        found = [one for one in self.models if one.path and one.path == report.path]
        found = found or [one for one in self.models if one.name == report.name]
        if found:
            return found[0]
        return self.models[0] if asked == len(self.models) == 1 else None


def read_base(path: Path) -> Base:
    """The file of ``--base``.

    Raises:
        DataError: it is missing, or not what ``engine size --json`` prints.
    """
    hint = "write it with `engine size MODEL --json > FILE`"
    try:
        return Base.model_validate(parse_json(read_regular(path, _MAX_BYTES)))
    except FileNotFoundError as error:
        raise DataError(f"--base {path}: no such file", hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"]))) or "the whole"
        raise DataError(
            f"--base {path} is not what `engine size --json` prints: {place}: {first['msg']}",
            hint=hint,
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"--base {path} cannot be read: {error}", hint=hint) from error


def _difference(now: int, before: int) -> str:
    """``+1,024 bytes (+2.5 %)``."""
    if now == before:
        return "no change"
    share = f" ({(now - before) / before:+.2%})" if before else ""
    return f"{now - before:+,} bytes{share}"


def change_of(report: SizeReport, before: BaseModelSize | None) -> str:
    """A model's change in words."""
    if before is None:
        return "not in the base"
    return f"{_difference(report.total, before.bytes)} against the base"


def badge(report: SizeReport) -> dict[str, Any]:
    """A badge in the JSON of shields.io's "endpoint": model size, and red where it is over a limit.

    Source: shields.io/badges/endpoint-badge.
    """
    over = bool(report.over or report.folder_over)
    message = human(report.total)
    if report.limit is not None:
        message += f" of {human(report.limit)}"
    color = "red" if over else "blue" if report.limit is None else "brightgreen"
    return {
        "schemaVersion": 1, "label": "model size", "message": message, "color": color,
        "isError": over,
    }  # fmt: skip


def _code(text: str) -> str:
    """Foreign text as code in a cell of a Markdown table."""
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(
    reports: list[SizeReport], before: list[BaseModelSize | None], *, compared: bool
) -> str:
    """A table of the models, and of each one its parts; with a base, only those that changed.

    Args:
        reports: the models now.
        before: the same models in the base, ``None`` for one that is not in it.
        compared: whether there is a base.
    """
    heading = ["before", "now", "change"] if compared else ["bytes"]
    lines = ["### Model size", "", _row("model", *heading, "limits")]
    lines.append(_row("---", *["---:"] * len(heading), "---"))
    for report, old in zip(reports, before, strict=True):
        cells = [f"{report.total:,}"]
        if compared and old is None:
            cells = ["", *cells, "new"]
        elif old is not None:
            cells = [f"{old.bytes:,}", *cells, _difference(report.total, old.bytes)]
        over = report.over or report.folder_over
        words = verdict(report).plain
        lines.append(_row(_code(report.name), *cells, f"**{words}**" if over else words))
    for report, old in zip(reports, before, strict=True):
        lines += _parts(report, old, compared=compared)
    return "\n".join(lines)


def _parts(report: SizeReport, old: BaseModelSize | None, *, compared: bool) -> list[str]:
    """The table of a model's parts, folded; nothing where no part changed."""
    now = {part.name: part.bytes for part in report.parts}
    after = ""
    if not compared:
        title, columns = "Parts of", ["part", "bytes"]
        largest = max(now, key=lambda name: now[name], default="")
        after = f", the largest is {_code(largest)}" if largest else ""
        rows = [_row(_code(name), f"{count:,}") for name, count in now.items()]
    else:
        then = {} if old is None else {part.name: part.bytes for part in old.parts}
        names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        title, columns = "Changed parts of", ["part", "before", "now", "change"]
        rows = [
            _row(
                _code(name),
                f"{then[name]:,}" if name in then else "",
                f"{now[name]:,}" if name in now else "",
                _difference(now.get(name, 0), then.get(name, 0)),
            )
            for name in names
        ]
    if not rows:
        return []
    return [
        "",
        f"**{title}** {_code(report.name)}{after}",
        "",
        _row(*columns),
        _row("---", *["---:"] * (len(columns) - 1)),
        *rows,
    ]

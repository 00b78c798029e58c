"""A contact sheet: random images with their queries, as one HTML page or one PNG."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from engine.contracts.dataset import Dataset, Record
from engine.core.progress import Progress, silent
from engine.data.pictures import rgb
from engine.errors import BrokenImageError, DataError
from engine.report import about, picture, render

CLUSTERS = "clusters.json"
THUMBNAIL = 360
"""Longest side of a picture on the page, in pixels."""
QUERIES = 6
"""Queries shown of an image."""

_TRIES = 20  # broken images passed over for each one asked for
_LINE = 1 << 16


@dataclass(frozen=True)
class SheetPicture:
    """An image of the sheet.

    Attributes:
        row: its id and queries.
        image: RGB.
    """

    row: Record
    image: Image.Image


@dataclass(frozen=True)
class Sheet:
    """The images that chance chose.

    Attributes:
        name: of the data.
        total: how many images the data have.
        shown: the chosen ones.
        broken: ids and reasons of chosen images that do not decode.
        cluster: the cluster that they were chosen from.
    """

    name: str
    total: int
    shown: Sequence[SheetPicture]
    broken: Sequence[tuple[str, str]] = ()
    cluster: int | None = None


def choose(
    dataset: Dataset,
    count: int,
    seed: int = 0,
    *,
    within: frozenset[str] | None = None,
    cluster: int | None = None,
    progress: Progress = silent,
) -> Sheet:
    """Choose images at random, the same for the same seed; broken ones are skipped and reported.

    Args:
        dataset: images with queries.
        count: how many.
        seed: of the choice.
        within: ids to choose among (default: all).
        cluster: whose ids these are, for the title.
        progress: shows how far it is.

    Raises:
        DataError: none of the images looked at decodes, or none is among ``within``.
    """
    rows = list(range(len(dataset)))
    if within is None and count * _TRIES < len(rows):
        rows = random.Random(seed).sample(range(len(dataset)), count * _TRIES)
    else:
        random.Random(seed).shuffle(rows)
    shown: list[SheetPicture] = []
    broken: list[tuple[str, str]] = []
    for index in rows:
        if len(shown) == count or len(broken) >= count * _TRIES:
            break
        row = dataset.record(index)
        if within is not None and row.id not in within:
            continue
        progress("images", len(shown), count)
        try:
            image = rgb(dataset.image(index)).copy()
        except BrokenImageError as error:
            broken.append((row.id, error.reason))
            continue
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        shown.append(SheetPicture(row, image))
    if not shown:
        why = f"; the first: image {broken[0][0]}, {broken[0][1]}" if broken else ""
        of = f" of cluster {cluster}" if cluster is not None else ""
        raise DataError(f"{dataset.name}: no image{of} to show, {len(broken)} do not decode{why}")
    return Sheet(dataset.name, len(dataset), shown, broken, cluster)


def read_cluster(path: Path, cluster: int) -> frozenset[str]:
    """The ids of a cluster's images, from JSON lines ``{"image": 1, "cluster": 3}``.

    Raises:
        DataError: no such file, a line is not of this form, or no image is in the cluster.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so the images of cluster {cluster} are not known",
            hint='it holds JSON lines such as {"image": 1, "cluster": 3}; name another with'
            " --clusters FILE",
        )
    ids: set[str] = set()
    known: set[int] = set()
    for number, row in _cluster_lines(path):
        match row:
            case {"image": int() | str() as name, "cluster": int() as found} if not (
                isinstance(name, bool) or isinstance(found, bool)
            ):
                known.add(found)
                if found == cluster:
                    ids.add(str(name))
            case _:
                raise DataError(
                    f'{path}, line {number}: expected such as {{"image": 1, "cluster": 3}}'
                )
    if not ids:
        there = ", ".join(map(str, sorted(known)[:20])) or "none"
        raise DataError(f"{path}: no image is in cluster {cluster} (clusters there: {there})")
    return frozenset(ids)


def _cluster_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                yield number, json.loads(line.decode())
            except (ValueError, RecursionError):
                yield number, None


def to_html(sheet: Sheet) -> str:
    """The sheet as a page that needs nothing else."""
    facts = [("shown", f"{len(sheet.shown):,}"), ("images", f"{sheet.total:,}")]
    if sheet.cluster is not None:
        facts.append(("cluster", str(sheet.cluster)))
    warnings = []
    if sheet.broken:
        first = ", ".join(f"{name} ({reason})" for name, reason in sheet.broken[:5])
        warnings.append(f"{len(sheet.broken)} chosen images do not decode: {first}")
    return render(
        "engine.data/sheet.html",
        title=f"{sheet.name}: images",
        kind="Random images with their queries",
        name=sheet.name,
        facts=facts,
        warnings=warnings,
        about=about(
            config="none: the images are chosen at random", data=[sheet.name], packages=["pillow"]
        ),
        pictures=[
            {
                "id": shown.row.id,
                "source": picture(shown.image, THUMBNAIL),
                "queries": shown.row.queries[:QUERIES],
                "more": len(shown.row.queries) - QUERIES,
            }
            for shown in sheet.shown
        ],
    )


FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf",
         "Arial Unicode.ttf")  # fmt: skip
"""Fonts with Cyrillic that systems have; Pillow's own has none."""

_CELL, _PAD, _LINES = 256, 12, 4


def find_font(path: Path | None = None, size: int = 15) -> ImageFont.FreeTypeFont:
    """A font for the PNG.

    Args:
        path: a font file; by default one of ``FONTS`` that the system has.
        size: in pixels.

    Raises:
        DataError: there is none.
    """
    for name in (str(path),) if path is not None else FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    if path is not None:
        raise DataError(f"{path} is not a font that can be read")
    raise DataError(
        f"a PNG needs a font with Cyrillic, and none of these is installed: {', '.join(FONTS)}",
        hint="write a page (-o sheet.html), name a font (--font FILE), or install one"
        " (apt install fonts-dejavu-core)",
    )


def to_png(sheet: Sheet, font: ImageFont.FreeTypeFont) -> bytes:
    """The sheet as one picture, up to six images a row, four lines of queries below each."""
    columns = min(6, len(sheet.shown))
    rows = -(-len(sheet.shown) // columns)
    line = round(font.size * 1.3)
    height = _CELL + _LINES * line + 3 * _PAD
    canvas = Image.new("RGB", (columns * (_CELL + _PAD) + _PAD, rows * height + _PAD), "white")
    draw = ImageDraw.Draw(canvas)
    for i, shown in enumerate(sheet.shown):
        x, y = _PAD + i % columns * (_CELL + _PAD), _PAD + i // columns * height
        draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill="#eceef4")
        small = ImageOps.contain(shown.image, (_CELL, _CELL))
        canvas.paste(small, (x + (_CELL - small.width) // 2, y + (_CELL - small.height) // 2))
        for k, query in enumerate(_lines(shown.row.queries)):
            draw.text((x, y + _CELL + 6 + k * line), _fitting(query, font), "#171a21", font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _lines(queries: Sequence[str]) -> list[str]:
    if len(queries) <= _LINES:
        return list(queries)
    return [*queries[: _LINES - 1], f"and {len(queries) - _LINES + 1:,} more"]


def _fitting(query: str, font: ImageFont.FreeTypeFont) -> str:
    """One line of printable characters, cut where the cell ends."""
    line = "".join(c if c.isprintable() else " " for c in query[:200])
    if font.getlength(line) <= _CELL:
        return line
    while line and font.getlength(line + "…") > _CELL:
        line = line[:-1]
    return line + "…"

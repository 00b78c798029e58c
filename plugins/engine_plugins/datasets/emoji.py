"""Emoji: pictures from the font Noto Color Emoji, words from Unicode's CLDR."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, features

from engine.contracts import Dataset, Record
from engine.errors import DataError, did_you_mean
from engine_plugins.datasets.cldr import read_annotations, read_groups
from engine_plugins.datasets.settings import EmojiSettings

FONT_SIZE = 109
"""The one size, in pixels, of the font's bitmaps."""

SKIN_TONES = frozenset(chr(code) for code in range(0x1F3FB, 0x1F400))

_CANVAS = (136, 128)  # what the font's bitmaps measure


class Symbol(NamedTuple):
    """One emoji.

    Attributes:
        text: its characters, without variation selectors.
        name: CLDR's short name, the class.
        queries: CLDR's keywords, and the name where it is not among them.
        group: CLDR's group and subgroup, ``("Animals & Nature", "animal-bird")``; empty texts for
            the newest emoji, which CLDR has not sorted yet.
    """

    text: str
    name: str
    queries: tuple[str, ...]
    group: tuple[str, str]


class Emoji(Dataset):
    """Row i shows emoji ``i % len(classes)``, each time on another background.

    The test's emoji are a random share, drawn by ``seed``, which training never shows. Where the
    library Raqm is missing from PIL (its wheels have it), emoji of several characters (flags,
    professions) are left out, as are those that the font cannot draw.

    Attributes:
        symbols: the emoji of this split, in the order of ``classes``.

    Raises:
        DataError: font or CLDR are missing or unreadable, a group is unknown, nothing is left.
    """

    name = "emoji"

    def __init__(self, settings: EmojiSettings) -> None:
        self.settings = settings
        _check_files(settings)
        symbols = read_symbols(settings.font, settings.cldr, settings.language, _has_raqm())
        if not settings.skin_tones:
            symbols = tuple(s for s in symbols if not SKIN_TONES & set(s.text))
        symbols = _of_groups(symbols, settings.groups)
        held = set(
            random.Random(f"emoji:{settings.seed}:split").sample(
                range(len(symbols)), max(1, round(settings.held_out * len(symbols)))
            )
        )
        self.symbols = tuple(
            s for i, s in enumerate(symbols) if (i in held) == (settings.split == "test")
        )
        if not self.symbols:
            raise DataError(
                f"emoji: no emoji is left for {settings.split}", hint="choose more `groups`"
            )
        self.classes = tuple(symbol.name for symbol in self.symbols)
        every = len(self.symbols) * settings.images_per_class
        self._count = min(settings.count or every, every)

    def __len__(self) -> int:
        return self._count

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        return Record(str(index), self._symbol(index).queries, index % len(self.symbols))

    def group(self, index: int) -> tuple[str, str]:
        """CLDR's group and subgroup of row ``index`` (see :class:`Symbol`)."""
        return self._symbol(index).group

    def image(self, index: int) -> Image.Image:
        """The picture of a row."""
        settings = self.settings
        symbol = self._symbol(index)
        rng = random.Random(f"emoji:{settings.seed}:{symbol.text}:{index // len(self.symbols)}")
        picture = Image.new("RGB", (settings.size, settings.size), _background(rng))
        glyph = _glyph(str(settings.font), symbol.text, _has_raqm())
        scale = settings.size * rng.uniform(0.62, 0.86) / max(glyph.size)
        width, height = (max(1, round(side * scale)) for side in glyph.size)
        # Premultiplied alpha, or the colour of clear pixels would bleed into the edges.
        glyph = glyph.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS)
        glyph = glyph.convert("RGBA")
        left = round((settings.size - width) * rng.uniform(0.25, 0.75))
        top = round((settings.size - height) * rng.uniform(0.25, 0.75))
        picture.paste(glyph, (left, top), glyph)
        return picture

    def _symbol(self, index: int) -> Symbol:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self.symbols[index % len(self.symbols)]


@lru_cache(maxsize=4)
def read_symbols(font: Path, cldr: Path, language: str, raqm: bool) -> tuple[Symbol, ...]:
    """Every emoji that has a name and that the font draws, in CLDR's order; names differ."""
    annotations = read_annotations(cldr / "annotations" / f"{language}.xml")
    derived = read_annotations(cldr / "annotationsDerived" / f"{language}.xml")
    groups = read_groups(cldr / "properties" / "labels.txt", cldr / "collation" / "root.xml")
    face = _font(str(font), raqm)
    names: set[str] = set()
    found = []
    for text, annotation in {**annotations, **derived}.items():
        if text.isascii() or annotation.name in names or not _draws(face, text):
            continue
        names.add(annotation.name)
        queries = tuple(dict.fromkeys((*annotation.keywords, annotation.name)))
        group = groups.get(text) or groups.get(text[0]) or ("", "")
        found.append(Symbol(text, annotation.name, queries, group))
    return tuple(found)


def _check_files(settings: EmojiSettings) -> None:
    language = f"{settings.language}.xml"
    for path in (
        settings.font,
        settings.cldr / "annotations" / language,
        settings.cldr / "annotationsDerived" / language,
        settings.cldr / "properties" / "labels.txt",
        settings.cldr / "collation" / "root.xml",
    ):
        if not path.is_file():
            raise DataError(
                f"emoji: {path} is missing",
                hint="install Debian's packages fonts-noto-color-emoji and unicode-cldr-core, or"
                " name NotoColorEmoji.ttf (setting `font`) and CLDR's folder `common` (setting"
                " `cldr`)",
            )


def _of_groups(symbols: tuple[Symbol, ...], groups: tuple[str, ...]) -> tuple[Symbol, ...]:
    known = sorted({symbol.group[0] for symbol in symbols if symbol.group[0]})
    for group in groups:
        if group not in known:
            raise DataError(
                f"emoji: unknown group `{group}`{did_you_mean(group, known)}",
                hint=f"groups are: {', '.join(known)}",
            )
    return tuple(s for s in symbols if not groups or s.group[0] in groups)


def _has_raqm() -> bool:
    return bool(features.check("raqm"))


@lru_cache(maxsize=4)
def _font(path: str, raqm: bool) -> ImageFont.FreeTypeFont:
    layout = ImageFont.Layout.RAQM if raqm else ImageFont.Layout.BASIC
    try:
        return ImageFont.truetype(path, FONT_SIZE, layout_engine=layout)
    except OSError as error:
        raise DataError(
            f"emoji: {path} cannot be used: {error}",
            hint="setting `font` names NotoColorEmoji.ttf with its bitmaps of 109 pixels",
        ) from error


def _draws(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether the font has one picture for the whole of ``text``."""
    _, top, _, bottom = font.getbbox(text)
    return bottom > top and font.getlength(text) <= _CANVAS[0]


@lru_cache(maxsize=256)
def _glyph(path: str, text: str, raqm: bool) -> Image.Image:
    """The picture, RGBA, cut to what is drawn."""
    canvas = Image.new("RGBA", _CANVAS, (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((0, 0), text, font=_font(path, raqm), embedded_color=True)
    return canvas.crop(canvas.getchannel("A").getbbox())


def _background(rng: random.Random) -> tuple[int, int, int]:
    """A pale tint of any hue, seldom a deep one."""
    deep = rng.random() < 0.15
    level, chroma = (rng.uniform(40, 70), 18) if deep else (rng.uniform(215, 242), 26)
    hue = rng.uniform(0, 2 * math.pi)
    red, green, blue = (
        round(min(255, max(0, level + chroma * math.cos(hue + turn))))
        for turn in (0, 2 * math.pi / 3, 4 * math.pi / 3)
    )
    return red, green, blue

"""Drawing one shape on a soft background. A pure function of the scene and a random stream."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from engine_plugins.datasets.russian import Scene

RGB = tuple[int, int, int]
Polygon = list[tuple[float, float]]

COLOURS: dict[str, RGB] = {
    "red": (222, 38, 38),
    "orange": (247, 128, 22),
    "yellow": (250, 212, 38),
    "green": (38, 152, 68),
    "light_blue": (102, 196, 244),
    "blue": (32, 66, 194),
    "violet": (126, 58, 176),
    "pink": (248, 138, 186),
    "brown": (122, 74, 40),
    "black": (26, 26, 30),
}
ON_LIGHT_ONLY = frozenset({"black", "brown", "blue", "violet"})
"""Colours that a dark background would swallow."""

RADIUS = {"small": 0.11, "medium": 0.18, "large": 0.27}
"""Radius of the circle around a shape, as a share of the image's side."""

_SUPERSAMPLE = 4
_MARGIN = 0.06
_JITTER = 0.02


def draw(scene: Scene, size: int, rng: random.Random) -> Image.Image:
    """Draw the scene: RGB, ``size`` x ``size``, edges anti-aliased by supersampling."""
    background = _background(size, scene.dark, rng)
    mask = _mask(scene, size, rng)
    shadow = mask.filter(ImageFilter.GaussianBlur(size * 0.018))
    offset = max(1, round(size * 0.012))
    dark = Image.new("RGB", (size, size), (0, 0, 0))
    soft = shadow.point([round(value * 0.3) for value in range(256)])
    background.paste(dark, (offset, offset), soft)
    background.paste(_paint(COLOURS[scene.colour], size, rng), (0, 0), mask)
    return _grain(background, rng)


def _background(size: int, dark: bool, rng: random.Random) -> Image.Image:
    """A gradient between two pale (or deep) tints in a random direction."""
    level = rng.uniform(38, 66) if dark else rng.uniform(218, 244)
    spread = 16 if dark else 22
    ends = [[level + rng.uniform(-spread, spread) for _ in range(3)] for _ in range(2)]
    angle = rng.uniform(0, 2 * math.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    along = 0.5 + 0.7 * (axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle))
    along = along.clip(0, 1)[:, :, None]
    tints = np.asarray(ends, dtype=np.float32)
    return _image(tints[0] + (tints[1] - tints[0]) * along)


def _paint(colour: RGB, size: int, rng: random.Random) -> Image.Image:
    """The colour, a little lighter above than below, a little different in each picture."""
    tone = 1 + rng.uniform(-0.06, 0.06)
    light = np.linspace(1.07 * tone, 0.93 * tone, size, dtype=np.float32)[:, None, None]
    column = _image(np.asarray(colour, dtype=np.float32) * light)
    return column.resize((size, size), Image.Resampling.NEAREST)


def _grain(image: Image.Image, rng: random.Random) -> Image.Image:
    stream, strength = np.random.default_rng(rng.getrandbits(64)), rng.uniform(1, 4)
    noise = stream.standard_normal((*image.size, 1), dtype=np.float32) * strength
    return _image(np.asarray(image, dtype=np.float32) + noise)


def _image(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((values + np.float32(0.5)).clip(0, 255).astype(np.uint8))


def _mask(scene: Scene, size: int, rng: random.Random) -> Image.Image:
    radius = RADIUS[scene.size] * rng.uniform(0.93, 1.07)
    reach = 0.5 - RADIUS[scene.size] - _MARGIN
    x, y = (0.5 + step * reach + rng.uniform(-_JITTER, _JITTER) for step in scene.place)
    turn = math.radians(rng.uniform(-10, 10))
    large = size * _SUPERSAMPLE
    canvas = Image.new("L", (large, large))
    pen = ImageDraw.Draw(canvas)
    for outline, ink in _OUTLINES[scene.shape]():
        points = [
            (
                large * (x + radius * (px * math.cos(turn) - py * math.sin(turn))),
                large * (y + radius * (px * math.sin(turn) + py * math.cos(turn))),
            )
            for px, py in outline
        ]
        pen.polygon(points, fill=ink)
    return canvas.reduce(_SUPERSAMPLE)


# Outlines around the origin within radius 1, y downwards. Ink 255 draws, ink 0 cuts out.
Outline = list[tuple[Polygon, int]]


def _ellipse(radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> Polygon:
    steps = (2 * math.pi * i / 96 for i in range(96))
    return [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in steps]


def _regular(corners: int, first: float = -math.pi / 2) -> Polygon:
    steps = (first + 2 * math.pi * i / corners for i in range(corners))
    return [(math.cos(t), math.sin(t)) for t in steps]


def _star() -> Polygon:
    steps = ((-math.pi / 2 + math.pi * i / 5, 1.0 if i % 2 == 0 else 0.42) for i in range(10))
    return [(r * math.cos(t), r * math.sin(t)) for t, r in steps]


def _heart() -> Polygon:
    # The classic curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.
    points = []
    for i in range(96):
        t = 2 * math.pi * i / 96
        down = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((math.sin(t) ** 3, -(down + 2.5) / 16))
    return points


def _drop() -> Polygon:
    steps = (2 * math.pi * i / 96 for i in range(96))
    return [(0.7 * math.sin(t) * math.sin(t / 2) ** 1.5, -math.cos(t)) for t in steps]


def _cross(arm: float = 0.3) -> Polygon:
    quarter = [(arm, -0.95), (arm, -arm), (0.95, -arm), (0.95, arm), (arm, arm), (arm, 0.95)]
    return quarter + [(-x, -y) for x, y in quarter]


def _arrow() -> Polygon:
    return [(-1, -0.24), (0.1, -0.24), (0.1, -0.68), (1, 0), (0.1, 0.68), (0.1, 0.24), (-1, 0.24)]


_OUTLINES: dict[str, Callable[[], Outline]] = {
    "circle": lambda: [(_ellipse(0.84), 255)],
    "square": lambda: [([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 255)],
    "triangle": lambda: [(_regular(3), 255)],
    "rhombus": lambda: [([(0, -1), (0.68, 0), (0, 1), (-0.68, 0)], 255)],
    "hexagon": lambda: [(_regular(6, 0), 255)],
    "cross": lambda: [(_cross(), 255)],
    "crescent": lambda: [(_ellipse(0.97), 255), (_ellipse(0.8, 0.42, -0.12), 0)],
    "star": lambda: [(_star(), 255)],
    "arrow": lambda: [(_arrow(), 255)],
    "drop": lambda: [(_drop(), 255)],
    "heart": lambda: [(_heart(), 255)],
    "ring": lambda: [(_ellipse(0.97), 255), (_ellipse(0.58), 0)],
}

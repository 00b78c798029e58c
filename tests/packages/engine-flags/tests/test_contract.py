"""Checks the plugin against its contract, and its pictures against the countries' laws."""

from __future__ import annotations

import itertools

import pytest
from engine_flags.countries import COLOURS, COUNTRIES
from engine_flags.dataset import Flags
from engine_flags.settings import FlagsSettings

from engine.testing import Check, plugin_checks


@plugin_checks("dataset", "flags", {"count": 40, "size": 32})
def test_contract(check: Check) -> None:
    check()


def test_no_two_flags_are_alike() -> None:
    assert len({(c.stripes, c.colours) for c in COUNTRIES}) == len(COUNTRIES)
    assert len({c.name for c in COUNTRIES}) == len({c.genitive for c in COUNTRIES}) == 26


def nearest(rgb: tuple[int, int, int]) -> str | None:
    """The name of a colour, however faded; None for the grey around a flag."""

    def misfit(name: str) -> float:
        lights = [0.75 + step / 20 for step in range(6)]
        return min(
            sum(abs(a - light * b) for a, b in zip(rgb, COLOURS[name], strict=True))
            for light in lights
        )

    grey = len(set(rgb)) == 1 and 90 <= rgb[0] <= 170
    return None if grey else min(COLOURS, key=misfit)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_picture_shows_the_stripes_of_its_country(split: str) -> None:
    flags = Flags(FlagsSettings(split=split, count=len(COUNTRIES), size=128))
    for index, country in enumerate(COUNTRIES):
        image = flags.image(index)
        assert (image.mode, image.size) == ("RGB", (128, 128))
        line = [(64, y) if country.stripes == "horizontal" else (y, 64) for y in range(128)]
        along = [nearest(image.getpixel(place)) for place in line]
        shown = [colour for colour, _ in itertools.groupby(along) if colour is not None]
        assert tuple(shown) == country.colours, country.name

"""Checks the plugin against its contract."""

from __future__ import annotations

from engine.testing import Check, plugin_checks


@plugin_checks("vision_tower", "grey_patches", {"width": 8, "layers": 2, "image_size": 16})
def test_contract(check: Check) -> None:
    check()

"""Checks the optimizer against its contract."""

from __future__ import annotations

from engine.testing import Check, plugin_checks


@plugin_checks("optimizer", "layer_rates")
def test_contract(check: Check) -> None:
    check()

"""Checks the callback against its contract."""

from __future__ import annotations

from engine.testing import Check, plugin_checks


@plugin_checks("callback", "weight_mean")
def test_contract(check: Check) -> None:
    check()

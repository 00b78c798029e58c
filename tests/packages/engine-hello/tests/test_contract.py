"""Checks both commands against their contract."""

from __future__ import annotations

from engine.testing import Check, plugin_checks


@plugin_checks("command", "hello")
def test_hello(check: Check) -> None:
    check()


@plugin_checks("command", "count")
def test_count(check: Check) -> None:
    check()

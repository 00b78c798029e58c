"""Checks the plugin against its contract."""

from __future__ import annotations

from engine.testing import Check, plugin_checks


@plugin_checks("text_encoder", "conv_text", {"width": 16, "layers": 2, "vocab_size": 64})
def test_contract(check: Check) -> None:
    check()

"""The conformance kit: does a plugin keep its kind's contract? For plugin authors, with pytest.

A test file of a plugin package, one test a check::

    from engine.testing import plugin_checks

    @plugin_checks("text_encoder", "my_encoder", settings={"width": 32, "layers": 2})
    def test_contract(check):
        check()

Without pytest, or before the package is installed::

    from engine.contracts.hooks import Plugin
    from engine.testing import check_plugin

    plugin = Plugin("text_encoder", "my_encoder", "my_package.encoder:MyEncoder",
                    settings="my_package.settings:MySettings")
    print(check_plugin("text_encoder", plugin, {"width": 32}))

A failed check says what it expected, what it found, why that matters, and which sentence of which
contract (``engine.contracts``) promises it. A check that needs something which failed already is
skipped, and says so: mend the first failure first.

Give settings that make a *small* plugin: the checks build it many times. Where none are given the
kit tries small numbers for settings of the usual names (``width``, ``layers``, ``vocab_size`` ...).
A function that takes a folder may write the files that the plugin reads and return its settings.

What else a plugin may need (all optional, see :class:`Hints`) is given by name::

    @plugin_checks("projection", "my_projection", in_width=12, out_width=12)
    @plugin_checks("tokenizer", "my_tokenizer", texts=["...", "..."], vocab_size=500)
    @plugin_checks("loss", "my_loss", extras={"text.gates": torch.randn(8, 5)})
    @plugin_checks("checkpoint_adapter", "my_layout", keys=["encoder.0.weight", "encoder.0.bias"])

Names are imported on first use: ``import engine.testing`` alone does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.testing.api import assert_plugin, check_plugin, checks, plugin_checks
    from engine.testing.check import Check, CheckFailure
    from engine.testing.core import Rule
    from engine.testing.report import Report, RuleFailure, RuleOutcome
    from engine.testing.subject import Hints

_HOMES = {
    "api": ("assert_plugin", "check_plugin", "checks", "plugin_checks"),
    "check": ("Check", "CheckFailure"),
    "core": ("Rule",),
    "report": ("Report", "RuleFailure", "RuleOutcome"),
    "subject": ("Hints",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "Check",
    "CheckFailure",
    "Hints",
    "Report",
    "Rule",
    "RuleFailure",
    "RuleOutcome",
    "assert_plugin",
    "check_plugin",
    "checks",
    "plugin_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

"""Which checks a kind has."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache

from engine.contracts.hooks import Plugin
from engine.testing import common
from engine.testing.core import Rule
from engine.testing.subject import Given, Hints, Subject, check_hints

_HOMES = {
    "text_encoder": "text_encoders",
    "vision_tower": "vision_towers",
    "projection": "projections",
    "tokenizer": "tokenizers",
    "embedder": "embedders",
    "clusterer": "clusterers",
    "dataset": "datasets",
    "checkpoint_adapter": "checkpoint_adapters",
    "loss": "losses",
    "sampler": "samplers",
    "logger": "loggers",
    "metric": "metrics",
    "command": "commands",
    "compressor": "compressors",
    "storage": "storages",
    "optimizer": "optimizers",
    "callback": "callbacks",
    "teacher": "teachers",
}
"""The module of each kind: its ``SUBJECT`` and its ``RULES``."""


@cache
def _home(kind: str) -> tuple[type[Subject], tuple[Rule, ...]]:
    home = importlib.import_module(f"engine.testing.{_HOMES[kind]}")
    return home.SUBJECT, (*common.RULES, *home.RULES)


def rules_of(kind: str) -> Sequence[Rule]:
    """The rules of a kind, in the order in which to mend what they find."""
    return _home(kind)[1]


def subject_of(kind: str, plugin: str | Plugin, settings: Given, hints: Hints) -> Subject:
    """A plugin to check.

    Raises:
        TypeError: a hint that this kind does not have.
        PluginError: an unknown kind, or a record of another kind.
    """
    check_hints(kind, hints)
    subject, rules = _home(kind)
    return subject(kind, plugin, settings, hints, rules)

"""A plugin under test: its classes, its settings, the hints of its author."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from engine.contracts.hooks import Plugin
from engine.contracts.kinds import KINDS
from engine.contracts.settings import PluginRef, Settings
from engine.errors import PluginError
from engine.testing.core import Rule
from engine.testing.report import RuleOutcome
from engine.testing.small import NoSettings, Overlay, small_settings

Given: TypeAlias = "Mapping[str, Any] | Callable[[Path], Mapping[str, Any]] | None"
"""Settings to check with, as a config writes them, without ``use``. ``None``: the kit tries small
numbers for the usual names. A function is called once with an empty folder of its own, as pytest's
``tmp_path`` is, so that it can write the files that the plugin reads."""


class Hints(TypedDict, total=False):
    """What an author may tell the kit. All of it is optional.

    Keys:
        skip: ids of checks to leave out, each with the reason, which the report repeats.
        max_bytes: weights heavier than this are not built (default: 500 MB).
        tolerance: largest error of numbers that should be equal, relative to the largest of them
            (default: 1e-5).
        in_width: projection: width of the features.
        out_width: projection: the embedding dimension.
        embedding_width: projection: width of the token embeddings.
        texts: tokenizer, embedder: what it learns from and is tried on.
        vocab_size: tokenizer: the most ids that a text encoder has rows for.
        extras: loss: entries that it reads and the kit does not know (``text.gates``), a tensor
            [N, ...] each.
        detached: loss: the entries through which it passes no gradient on purpose.
        keys: checkpoint_adapter: names of the tensors of a checkpoint of this layout.
        rows: dataset: how many rows to read (default: 16).
    """

    skip: Mapping[str, str]
    max_bytes: int
    tolerance: float
    in_width: int
    out_width: int
    embedding_width: int
    texts: Sequence[str]
    vocab_size: int
    extras: Mapping[str, Any]
    detached: Collection[str]
    keys: Sequence[str]
    rows: int


_FOR_ALL = ("skip",)
_OF_MODULES = ("max_bytes", "tolerance")
HINTS_OF: dict[str, tuple[str, ...]] = {
    "text_encoder": _OF_MODULES,
    "vision_tower": _OF_MODULES,
    "projection": (*_OF_MODULES, "in_width", "out_width", "embedding_width"),
    "tokenizer": ("texts", "vocab_size"),
    "embedder": ("texts",),
    "clusterer": (),
    "dataset": ("rows",),
    "checkpoint_adapter": ("keys",),
    "loss": ("extras", "detached"),
    "sampler": (),
    "logger": (),
    "metric": (),
    "command": (),
    "compressor": (),
    "storage": (),
    "optimizer": (),
    "callback": (),
    "teacher": (),
}
"""The hints of each kind, beside ``skip``."""


class Subject:
    """One plugin, and all that was found out about it so far.

    What may fail (an import, a validation) happens on first use, inside a check.

    Attributes:
        kind: the plugin's kind.
        hints: what the author says about the plugin.
        skip: ids of checks to leave out, with reasons.
        rules: the rules of the kind by id.
        outcomes: what came of the checks that ran.
    """

    def __init__(
        self,
        kind: str,
        plugin: str | Plugin,
        settings: Given,
        hints: Hints,
        rules: Sequence[Rule],
    ) -> None:
        if isinstance(plugin, Plugin) and plugin.kind != kind:
            raise PluginError(
                f"`{plugin.name}` is registered as a {plugin.kind}, checked as a {kind}",
                hint="give both the same kind",
            )
        self.kind, self.hints = kind, hints
        self._given, self._config = plugin, settings
        self.rules = {one.id: one for one in rules}
        self.skip = dict(hints.get("skip", {}))
        for unknown in self.skip.keys() - self.rules.keys():
            raise TypeError(
                f"skip: a {kind} has no check `{unknown}` (it has: {', '.join(self.rules)})"
            )
        self.outcomes: dict[str, RuleOutcome] = {}

    def __str__(self) -> str:
        plugin = self._given
        if isinstance(plugin, str):
            try:
                plugin = self.plugin
            except PluginError:
                return f"{self.kind} `{plugin}`"
        return f"{plugin.kind} `{plugin.name}` ({plugin.target})"

    @cached_property
    def registry(self) -> Overlay:
        """What is installed, this plugin over it, and the kit's own doubles."""
        return Overlay(self._given if isinstance(self._given, Plugin) else None)

    @cached_property
    def plugin(self) -> Plugin:
        """The record.

        Raises:
            PluginError: there is none of that name, or its package is broken.
        """
        return self._given if isinstance(self._given, Plugin) else self.registry.get(
            self.kind, self._given
        )  # fmt: skip

    @cached_property
    def target(self) -> type[Any]:
        """The plugin's class."""
        return self.plugin.load()

    @cached_property
    def settings_type(self) -> type[Settings]:
        """Its settings' class."""
        return self.plugin.load_settings()

    @cached_property
    def settings(self) -> Any:
        """Its settings: the author's, or small ones that the kit guessed."""
        given = self._written() if callable(self._config) else self._config
        return small_settings(self.kind, self.settings_type, given, self.registry)

    def _written(self) -> Mapping[str, Any]:
        """The settings of the author's function, which wrote files into a folder of its own."""
        assert callable(self._config)
        self._folder = tempfile.TemporaryDirectory(prefix="engine-kit-")  # until the subject ends
        try:
            found = self._config(Path(self._folder.name))
        except Exception as error:
            raise NoSettings(f"the function `settings` failed: {error!r}") from error
        if not isinstance(found, Mapping):
            raise NoSettings(f"the function `settings` gives {found!r}, not a mapping")
        return found

    @property
    def use(self) -> PluginRef:
        """The plugin with these settings, as a config has it."""
        return PluginRef(self.plugin, self.settings)

    def validate(self, config: Mapping[str, Any]) -> Settings:
        """Settings from what a config would hold."""
        return self.settings_type.model_validate(dict(config), context={"registry": self.registry})

    def again(self, **changes: Any) -> Any:
        """The settings with some of them changed; validated again."""
        config = self.use.to_config()
        del config["use"]
        return self.validate({**config, **changes})

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """While a check runs: every global source of randomness begins at a fixed place."""
        import numpy as np
        import torch

        states = random.getstate(), np.random.get_state()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # small work: more threads wait for each other
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            try:
                yield
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])
                torch.set_num_threads(threads)


def check_hints(kind: str, hints: Mapping[str, Any]) -> None:
    """Raise TypeError for a hint that this kind does not have."""
    if kind not in KINDS:
        raise PluginError(f"unknown kind `{kind}`", hint=f"kinds are: {', '.join(KINDS)}")
    known = (*_FOR_ALL, *HINTS_OF[kind])
    for name in hints:
        if name not in known:
            raise TypeError(f"a {kind} has no hint `{name}` (it has: {', '.join(known)})")

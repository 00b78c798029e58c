"""Digests of data: of a data set's settings, and of every file that settings name.

Files count by name, size and time of change, see ``core/named_files.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from engine.bench.datasets import leaves
from engine.contracts.settings import PluginRef
from engine.core.named_files import files_digest
from engine.core.registry import Registry, default_registry

Counted = Callable[[str, int], None]
"""Receives the name of a data set and how many of its files were looked at so far."""


class Prints:
    """Fingerprints of data sets, each computed once.

    Args:
        registry: of the plugins.
        counted: receives how it goes, every 10,000 files.
    """

    def __init__(self, registry: Registry | None = None, counted: Counted | None = None) -> None:
        self._registry = registry or default_registry()
        self._counted = counted or (lambda name, files: None)
        self._known: dict[str, str] = {}

    def of(self, use: PluginRef) -> str:
        """The fingerprint of a data set: its settings, its plugin's version, its files."""
        config = json.dumps(use.to_config(), sort_keys=True)
        if config not in self._known:
            self._known[config] = self._compute(use, config)
        return self._known[config]

    def _compute(self, use: PluginRef, config: str) -> str:
        digest = hashlib.sha256()
        for leaf in leaves(use):
            who = self._registry.registered("dataset", leaf.name).distribution
            about = json.dumps([leaf.to_config(), who.name, who.version], sort_keys=True)
            digest.update(about.encode())
            count = lambda files, name=leaf.name: self._counted(name, files)  # noqa: E731
            digest.update(files_digest(leaf.settings, count).encode())
        digest.update(config.encode())
        return digest.hexdigest()

"""Where each setting of a config was written, for what is found wrong after it was read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from engine.core.config.diagnostics import Diagnostic, Place
from engine.core.config.nodes import Node
from engine.errors import EngineError

_LEADING = re.compile(r"([a-z_]+(?:\.[A-Za-z0-9_-]+)+)(?=[:,] )")
"""The dotted path that a message begins with: ``train.stages.0: ...``."""


class Places:
    """The places of the settings of one config, its files and overrides laid over each other.

    Args:
        root: what was written.
    """

    def __init__(self, root: Node) -> None:
        self._root = root

    def of(self, path: str) -> Place:
        """The place of a dotted path, or of the nearest mapping above that was written."""
        node, place = self._root, self._root.place
        for part in path.split("."):
            if isinstance(node.value, dict) and part in node.value:
                place = node.keys.get(part, node.value[part].place)
                node = node.value[part]
            elif isinstance(node.value, list) and part.isdigit() and int(part) < len(node.value):
                node = node.value[int(part)]
                place = node.place
            else:
                break
        return place

    def locate(self, error: EngineError) -> EngineError:
        """The same error, its message with ``file:line:column`` and the setting before it.

        An error that names no setting of the config stays as it is.
        """
        path, message = error.setting, error.message
        leading = _LEADING.match(message)
        if leading is not None and leading[1].partition(".")[0] in self._names:
            # The message's own path is the more exact one.
            path, message = leading[1], message[leading.end() :].lstrip(":, ")
        if path is None:
            return error
        diagnostic = Diagnostic(self.of(path), path, "")
        error.message = f"{str(diagnostic).rstrip(': ')}: {message}"
        error.args = (error.message,)
        error.setting = None
        return error

    @property
    def _names(self) -> frozenset[str]:
        value = self._root.value
        return frozenset(value) if isinstance(value, dict) else frozenset()

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Errors raised inside say where in the config the setting at fault stands."""
        try:
            yield
        except EngineError as error:
            self.locate(error)
            raise

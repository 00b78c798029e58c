"""Packages that an export needs and Engine itself does not."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from engine.errors import PluginError

ONNX = ("onnx", "onnxscript", "onnxruntime")


def need(packages: Sequence[str], extra: str, what: str = "this export") -> None:
    """Raise PluginError where one of them is not installed, with the command that installs all."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise PluginError(
            f"{what} needs {', '.join(missing)}, which Engine does not install by itself",
            hint=f'pip install "engine-towers[{extra}]" (or: pip install {" ".join(packages)})',
        )

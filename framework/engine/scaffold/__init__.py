"""The scaffold: ``engine plugin new`` writes a package with one plugin that works and trains.

Nothing here imports torch, nor the classes of any plugin.
"""

from __future__ import annotations

from engine.scaffold.addition import add_plugin
from engine.scaffold.names import Names
from engine.scaffold.writer import Package, new_package

__all__ = ["Names", "Package", "add_plugin", "new_package"]

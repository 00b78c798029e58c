"""YAML to validated settings: every diagnostic at once, each with its place.

    from engine.core.config import load_config

    config = load_config(Path("configs/sber.yaml"), ["model.embed_dim=512"])

==================  =======================================================================
module              what it does
==================  =======================================================================
``schema``          the settings of a whole config
``loader``          files and ``extends``: :func:`load_config`, :func:`load_settings`
``overrides``       ``--set model.embed_dim=512``
``yaml_reader``     YAML to :class:`Node`: plain values with line and column
``nodes``           those values, and how one is laid over another
``validation``      pydantic's errors as diagnostics in the words and places of the file
``places``          where each setting was written, for errors found later
``diagnostics``        what is wrong and where, gathered into one error
``dump``            :func:`dump_config`: the resolved config as YAML
``editor_schema``   :func:`json_schema`: for editors that complete and check configs
``explain``         every key in words, with default and example
``settings_table``  the settings of a plugin as rows for a person
==================  =======================================================================

Names are imported on first use, so that the schema alone stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.core.config.dump import dump_config
    from engine.core.config.editor_schema import config_schema, json_schema
    from engine.core.config.loader import load_config, load_located, load_settings
    from engine.core.config.schema import EngineConfig

_HOME = {
    "EngineConfig": "schema",
    "config_schema": "editor_schema",
    "dump_config": "dump",
    "json_schema": "editor_schema",
    "load_config": "loader",
    "load_located": "loader",
    "load_settings": "loader",
}
__all__ = [
    "EngineConfig",
    "config_schema",
    "dump_config",
    "json_schema",
    "load_config",
    "load_located",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

"""Search: pictures of any folders become an index of vectors, and texts or pictures find them.

``engine index``, ``engine search``, ``engine data filter`` and the service call it; it computes
vectors with ``engine.evaluate`` and draws pages with ``engine.report``. Start reading in
``building.py`` (how an index is filled) and ``index.py`` (how it answers).

Names are imported on first use: nothing here is slow to import before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.search.building import IndexReport, build_index
    from engine.search.index import Hit, SearchIndex
    from engine.search.query import query_vector

_HOME = {
    "Hit": "index",
    "SearchIndex": "index",
    "IndexReport": "building",
    "build_index": "building",
    "query_vector": "query",
}
__all__ = ["Hit", "IndexReport", "SearchIndex", "build_index", "query_vector"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

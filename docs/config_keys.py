"""A hook of MkDocs: the page of all config keys, made from the schema at each build.

So the page is never out of date: it is what ``engine explain --md`` prints.
"""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGE = "config-keys.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    from engine.core.config.explain import page
    from engine.core.registry import default_registry

    files.append(File.generated(config, PAGE, content=page(default_registry())))
    return files

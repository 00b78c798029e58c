"""``engine schema``: a JSON Schema of configs, for editors that complete and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.core.terminal import json_text, print_json


def command(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, not to stdout.")
    ] = None,
) -> None:
    """Print a JSON Schema of configs, with every installed plugin.

    An editor with a YAML language server completes and checks a config that begins with
    `# yaml-language-server: $schema=engine.schema.json`.
    """
    from engine.cli.tables import print_warning
    from engine.core.config import EngineConfig, config_schema
    from engine.core.registry import default_registry

    registry = default_registry()
    schema, left_out = config_schema(EngineConfig, registry)
    if output is None:
        print_json(schema, indent=2)
    else:
        from engine.core.files import check_target, write_text

        check_target(output)
        write_text(output, json_text(schema, indent=2) + "\n")
    for plugin in left_out:
        print_warning(f"left out: {plugin.error}")
    for broken in registry.broken:
        print_warning(f"left out: {broken.distribution} failed to load: {broken.error}")

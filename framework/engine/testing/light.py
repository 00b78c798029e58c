"""Run as a program: do a plugin's settings work without torch?

Reads ``[kind, name, settings, target, config]`` as JSON; prints ``light``, or what imported torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def main() -> str:
    """See the module."""
    from engine.contracts.hooks import Plugin
    from engine.testing.small import Overlay

    kind, name, settings, target, config = json.load(sys.stdin)
    assert "torch" not in sys.modules
    plugin = Plugin(kind, name, target, settings)
    found = plugin.load_settings()
    steps: list[tuple[str, Callable[[], object]]] = [
        ("importing its module", lambda: None),
        ("validating a config", lambda: found.model_validate(
            config, context={"registry": Overlay(plugin)})),
    ]  # fmt: skip
    if kind in ("text_encoder", "vision_tower"):
        steps.append(("plan()", lambda: found.model_validate(
            config, context={"registry": Overlay(plugin)}).plan()))  # type: ignore[attr-defined]  # fmt: skip
    for what, step in steps:
        step()
        if "torch" in sys.modules:
            return f"{what} imported torch"
    return "light"


if __name__ == "__main__":
    print(main())

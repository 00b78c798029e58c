"""A checkpoint adapter to begin with."""

from __future__ import annotations

from engine.scaffold.kind import IMPORTING, PackageKind

SETTINGS = '''\
"""What a config may say to `$name`: nothing. A layout is what its program wrote."""

from __future__ import annotations

from engine.contracts import Settings


class ${class_name}Settings(Settings):
    """$title."""
'''

PLUGIN = '''\
"""`$name`: another program's checkpoints.

Its contract: engine/contracts/checkpoint_adapter.py.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.contracts import CheckpointAdapter

PREFIXES = {
    "${name}.image.": "vision.",
    "${name}.image_head.": "vision_projection.",
    "${name}.caption.": "text.",
    "${name}.caption_head.": "text_projection.",
}
"""How the other program's names begin, and how Engine's do."""

SCALE = "${name}.temperature"


class $class_name(CheckpointAdapter):
    """$title."""

    def matches(self, keys: Collection[str]) -> bool:
        """Whether a checkpoint with these names is of this layout."""
        return SCALE in keys and all(
            any(key.startswith(prefix) for key in keys)
            for prefix in ("${name}.image.", "${name}.caption.")
        )

    def rename(self, key: str) -> str | None:
        """Engine's name; a name that is not known is passed on, and reported to the user."""
        if key == SCALE:
            return "logit_scale"
        for theirs, ours in PREFIXES.items():
            if key.startswith(theirs):
                return ours + key.removeprefix(theirs)
        return key
'''

PACKAGE = PackageKind(
    file="layout",
    contract="CheckpointAdapter",
    contract_module="engine.contracts.checkpoint_adapter",
    summary="checkpoints of a program that says image and caption",
    settings=SETTINGS,
    plugin=PLUGIN,
    headline="What a checkpoint is read into: `engine import CHECKPOINT --config my.yaml`.",
    commands=IMPORTING,
    checked="""
    "$kind",
    "$name",
    keys=[
        "$name.image.stem.weight",
        "$name.caption.norm.bias",
        "$name.temperature",
    ],
""",
)

"""Proposals: under which settings a plugin computes what another program describes. No torch.

``engine import hf:ORG/NAME`` writes a config from the source's own description. Engine takes the
description apart (``config.json``, ``open_clip_config.json``, ``modules.json``, ...) and asks the
settings class of every installed tower and tokenizer in turn: ``propose`` answers for the
architectures that the plugin knows. Whether it then computes the same is checked afterwards by the
plugin's tables (``contracts/description.py``), so a proposal only translates numbers and names; a
setting that a plugin has no form of is refused there, by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """A tower that computes what a description says, and the projection behind it.

    Attributes:
        settings: of the tower, as a config would write them, without ``use``, ``weights`` and
            ``tokenizer``.
        projection: what stands between the tower and the joint space, as a config would write it:
            ``{"use": "identity"}`` where the tower keeps a projection of its own.
        embed_dim: width of the joint space.
    """

    settings: Mapping[str, Any]
    projection: Mapping[str, Any]
    embed_dim: int


def number(values: Mapping[str, Any], *keys: str, default: int | None = None) -> int:
    """A whole number of a description, by the first of its keys that is there.

    Raises:
        ValueError: it is not a positive whole number, or it is absent and has no default.
    """
    for key in keys:
        if values.get(key) is not None:
            found = values[key]
            if isinstance(found, bool) or not isinstance(found, int) or found < 1:
                raise ValueError(f"`{key}` is {found!r:.60}: expected a whole number above 0")
            return found
    if default is None:
        raise ValueError(f"`{keys[0]}` is missing")
    return default


def ratio(width: int, hidden: int) -> float:
    """The ``mlp_ratio`` of a hidden width: ``int(width * ratio)`` is ``hidden`` exactly."""
    found = hidden / width
    while int(width * found) < hidden:
        found = found * (1 + 2**-52)
    return found

"""ruCLIP's numbers: of the published models, and of a model's folder. Nothing here imports torch.

Source: the model cards of ``ai-forever/ruclip-vit-*``; the package ruclip 0.0.2, which reads the
same keys from ``config.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from engine.contracts.description import Description
from engine.contracts.proposal import Proposal, number
from engine.core.sources import find_source, local_path
from engine.errors import WeightsError

RuClipArch = Literal[
    "ruclip-vit-base-patch32-224",
    "ruclip-vit-base-patch16-224",
    "ruclip-vit-base-patch32-384",
    "ruclip-vit-base-patch16-384",
    "ruclip-vit-large-patch14-224",
    "ruclip-vit-large-patch14-336",
]
DEFAULT_ARCH: RuClipArch = "ruclip-vit-base-patch32-224"

_NAME = re.compile(r"ruclip-vit-(?P<size>base|large)-patch(?P<patch>\d\d)-(?P<image>\d{3})")
_BASE = {
    "embed_dim": 512, "vision_layers": 12, "vision_width": 768, "transformer_width": 512,
    "transformer_heads": 8, "transformer_layers": 12, "context_length": 77, "vocab_size": 49408,
}  # fmt: skip
_LARGE = _BASE | {
    "embed_dim": 768, "vision_layers": 24, "vision_width": 1024, "transformer_width": 768,
    "transformer_heads": 12,
}  # fmt: skip
_KEYS = (*_BASE, "image_resolution", "vision_patch_size")
_MAX_BYTES = 1_000_000  # of a config.json


def text_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` -> numbers of the text transformer, by the names of the settings."""
    return {
        "vocab_size": config["vocab_size"],
        "max_tokens": config["context_length"],
        "width": config["transformer_width"],
        "layers": config["transformer_layers"],
        "heads": config["transformer_heads"],
        "embed_width": config["embed_dim"],
    }


def vision_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` -> numbers of the vision transformer, by the names of the settings."""
    numbers = {
        "image_size": config["image_resolution"],
        "patch_size": config["vision_patch_size"],
        "width": config["vision_width"],
        "layers": config["vision_layers"],
        "heads": max(1, config["vision_width"] // 64),
        "embed_width": config["embed_dim"],
    }
    return numbers | {key: config[key] for key in ("mean", "std") if config.get(key)}


def proposal(
    description: Description, numbers: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Proposal | None:
    """A ruCLIP tower by its folder's ``config.json``; ``None`` for another program's.

    Raises:
        ValueError: a number is missing.
    """
    if description.program != "ruclip":
        return None
    checked = {key: number(description.values, key) for key in _KEYS}
    found = numbers({**description.values, **checked})
    return Proposal(found, {"use": "identity"}, checked["embed_dim"])


def arch_config(arch: str) -> dict[str, Any] | None:
    """What the ``config.json`` of a published model holds; ``None`` for another name."""
    match = _NAME.fullmatch(arch)
    if match is None:
        return None
    numbers = _BASE if match["size"] == "base" else _LARGE
    image, patch = int(match["image"]), int(match["patch"])
    return {**numbers, "image_resolution": image, "vision_patch_size": patch}


def source_config(source: str) -> dict[str, Any] | None:
    """The numbers of the model that ``weights.from`` names, where they can be known.

    Args:
        source: ``file:<folder>`` with a ``config.json``, or ``hf:<owner>/<published model>``.

    Raises:
        ValueError: the folder's ``config.json`` is not ruCLIP's; says what is wrong with it.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "hf":
        return arch_config(rest.partition("@")[0].rpartition("/")[2])
    if _folder_of(source) is None:
        return None
    try:
        found = find_source(source, ["config.json"])
    except WeightsError:  # no such folder, or no such file in it: loading the weights says so
        return None
    return _read(found["config.json"])


def has_vocabulary(source: str) -> bool:
    """Whether ``weights.from`` names a model whose ``bpe.model`` lies beside its weights."""
    if source.startswith("hf:"):
        return source_config(source) is not None
    return _folder_of(source) is not None


def _folder_of(source: str) -> Path | None:
    """The folder of ``file:`` or ``package:``; ``None`` for others, and for a file of weights."""
    if not source.startswith(("file:", "package:")):
        return None
    try:
        path = local_path(source)
    except WeightsError:  # loading the weights says what is wrong with it
        return None
    single = path is None or path.suffix in (".bin", ".pt", ".pth", ".safetensors")
    return None if single else path


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no mapping, so it is not ruCLIP's")
    for key in _KEYS:
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            found = repr(value)[:40] if key in config else "nothing"
            raise ValueError(
                f"{path} is not ruCLIP's: `{key}` must be a whole number above 0, found {found};"
                " name a published model with `arch:`, or give every number in the config"
            )
    return config

"""Importing: checkpoints of other programs become artifacts, by the names of their tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from engine.build import Built, Origin, Say, assemble, make_model, make_tokenizer
from engine.config.schema import EngineConfig
from engine.contracts.tower import explain_misfit
from engine.errors import WeightsError
from engine.registry import Registry, default_registry
from engine.size import config_size
from engine.weights import read_checkpoint


def import_checkpoint(
    path: Path,
    config: EngineConfig,
    layout: str | None = None,
    registry: Registry | None = None,
    say: Say = lambda line: None,
) -> Built:
    """Build a model whose weights come from another program's checkpoint.

    Args:
        path: safetensors, or a torch file (read with ``weights_only=True``).
        config: what the checkpoint is, in Engine's terms.
        layout: name of a ``key_layout`` plugin; ``None``: found by the names in the file.
        registry: where plugins are looked up.
        say: receives lines of progress.

    Raises:
        WeightsError: unreadable, of no known layout, or not fitting the config.
    """
    registry = registry or default_registry()
    config_size(config).check()
    say(f"reading {path}")
    tensors = read_checkpoint(path)
    name, rename = _find_layout(tensors, layout, registry, path)
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        new = rename(key)
        if new is not None:
            renamed[new] = tensor.float() if tensor.dtype.is_floating_point else tensor
    say(f"layout {name}: {len(renamed)} tensors")
    model = make_model(config)
    misfit = explain_misfit(model.state_dict(), renamed)
    if misfit:
        raise WeightsError(
            f"{path} does not fit the config:\n{misfit}",
            hint="the config must describe the checkpoint's own model: widths, layers, vocabulary,"
            " projections",
        )
    model.load_state_dict(renamed, strict=True)
    tokenizer = make_tokenizer(config)
    origin = Origin(f"file:{path.name} (layout {name})", "loaded")
    parts = ("vision", "vision_projection", "text", "text_projection")
    return assemble(config, model, tokenizer, dict.fromkeys(parts, origin))


def _find_layout(
    tensors: dict[str, Tensor], name: str | None, registry: Registry, path: Path
) -> tuple[str, Callable[[str], str | None]]:
    names = [name] if name else registry.names("key_layout")
    for candidate in names:
        plugin = registry.get("key_layout", candidate)
        layout = plugin.load()(plugin.load_settings()())
        if name or layout.matches(tensors.keys()):
            return candidate, layout.rename
    shown = ", ".join(sorted(tensors)[:4])
    raise WeightsError(
        f"{path}: no known layout has these names (it holds {shown} ...)",
        hint=f"known layouts: {', '.join(names)}; choose one with --layout",
    )

"""Importing: checkpoints of other programs become artifacts, by the names of their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from engine.build import Built, Origin, Say, assemble, make_model, make_tokenizer
from engine.config.schema import EngineConfig
from engine.contracts.layout import KeyLayout
from engine.contracts.tower import explain_misfit
from engine.errors import WeightsError
from engine.model import DualEncoder
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

    Its tensors are renamed by the layout, then each tower adapts its own as it does when it loads
    weights alone (cuts a table of positions to what the config asks for, say). Whatever dtype they
    are stored in, the model is float32.

    Args:
        path: safetensors, or a torch file (read with ``weights_only=True``).
        config: what the checkpoint is, in Engine's terms.
        layout: name of a ``key_layout`` plugin; ``None``: found by the names in the file.
        registry: where plugins are looked up.
        say: receives lines of progress.

    Raises:
        WeightsError: unreadable, of no known layout, or not fitting the config.
    """
    config_size(config).check()
    say(f"reading {path}")
    tensors = read_checkpoint(path)
    name, found = _find_layout(tensors, layout, registry or default_registry(), path)
    renamed = _rename(tensors, found, path)
    say(f"layout {name}: {len(renamed)} tensors")
    model = make_model(config)
    adapted = _adapt(model, renamed)
    misfit = explain_misfit(model.state_dict(), adapted)
    if misfit:
        raise WeightsError(
            f"{path} does not fit the config:\n{misfit}",
            hint="the config must describe the checkpoint's own model: widths, layers, vocabulary,"
            " projections",
        )
    model.load_state_dict(adapted, strict=True)
    tokenizer = make_tokenizer(config)
    origin = Origin(f"file:{path.name} (layout {name})", "loaded")
    parts = ("vision", "vision_projection", "text", "text_projection")
    return assemble(config, model, tokenizer, dict.fromkeys(parts, origin))


def _rename(tensors: Mapping[str, Tensor], layout: KeyLayout, path: Path) -> dict[str, Tensor]:
    """Engine's names, all floating-point tensors in float32."""
    renamed: dict[str, Tensor] = {}
    old_names: dict[str, str] = {}
    for key, tensor in tensors.items():
        new = layout.rename(key)
        if new is None:
            continue
        if new in old_names:
            raise WeightsError(f"{path}: `{old_names[new]}` and `{key}` are both {new}")
        old_names[new] = key
        renamed[new] = tensor.float() if tensor.dtype.is_floating_point else tensor
    return renamed


def _adapt(model: DualEncoder, renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Let each tower fit its own part; the rest stays as it is."""
    adapted = dict(renamed)
    for part, tower in (("vision", model.vision), ("text", model.text)):
        prefix = f"{part}."
        own = {k[len(prefix) :]: adapted.pop(k) for k in renamed if k.startswith(prefix)}
        adapted |= {prefix + name: tensor for name, tensor in tower.adapt(own).items()}
    return adapted


def _find_layout(
    tensors: Mapping[str, Tensor], name: str | None, registry: Registry, path: Path
) -> tuple[str, KeyLayout]:
    """The layout of that name, or the one that knows these names."""

    def make(name: str) -> KeyLayout:
        plugin = registry.get("key_layout", name)
        layout: KeyLayout = plugin.load()(plugin.load_settings()())
        return layout

    if name is not None:
        return name, make(name)
    known = {candidate: make(candidate) for candidate in registry.names("key_layout")}
    fitting = [name for name, layout in known.items() if layout.matches(tensors.keys())]
    if len(fitting) == 1:
        return fitting[0], known[fitting[0]]
    if fitting:
        raise WeightsError(
            f"{path}: more than one layout has these names: {', '.join(fitting)}",
            hint="choose one with --layout",
        )
    shown = ", ".join(sorted(tensors)[:4])
    raise WeightsError(
        f"{path}: no known layout has these names (it holds {shown} ...)",
        hint=f"known layouts: {', '.join(known)}; choose one with --layout",
    )

"""Importing: checkpoints of other programs become artifacts, by the names of their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from engine.contracts.checkpoint_adapter import CheckpointAdapter
from engine.contracts.description import Description
from engine.contracts.filling import adapting, fill
from engine.contracts.tokenizer import Tokenizer
from engine.core.build import Built, Origin, assemble, make_tokenizer, tokenizer_warnings
from engine.core.config.schema import EngineConfig
from engine.core.descriptions import (
    TOKENIZER,
    check,
    describe_weights,
    differences,
    text_end,
    tokenizer_differences,
)
from engine.core.making import make_model
from engine.core.model import DualEncoder
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.core.size import config_size
from engine.core.weights import read_checkpoint
from engine.errors import WeightsError
from engine.exchange.foreign import parts_of_index

_FILES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
"""What may hold the weights in a folder of transformers or open_clip, the best first."""


_TOWERS = ("vision", "text")
LOGITS = ("logit_scale", "logit_bias")
"""What a model has beside its towers and projections."""


def import_checkpoint(
    path: Path,
    config: EngineConfig,
    layout: str | None = None,
    registry: Registry | None = None,
    progress: Progress = silent,
) -> Built:
    """Build a model whose weights come from another program's checkpoint.

    Its tensors are renamed by the layout, then each tower adapts its own as it does when it loads
    weights alone (cuts a table of positions to what the config asks for, say). Whatever dtype they
    are stored in, the model is float32.

    Args:
        path: safetensors, or a torch file (no code in it is run); or a folder of
            transformers or open_clip, whose file of weights is found (in several parts, too).
        config: what the checkpoint is, in Engine's terms.
        layout: name of a ``checkpoint_adapter`` plugin; ``None``: found by the names in the file.
        registry: where plugins are looked up.
        progress: receives lines of progress.

    Raises:
        WeightsError: unreadable, of no known layout, or not fitting the config.
    """
    config_size(config).check()
    progress(f"reading {path}")
    tensors = _read(path)
    name, found = find_adapter(tensors, layout, registry or default_registry(), str(path))
    renamed = rename(tensors, found, str(path))
    progress(f"layout {name}: {len(renamed)} tensors")
    model = make_model(config)
    adapted = finish(found, renamed, model, str(path))
    _hold(model, found.describe(tensors), path)
    _fill(model, adapted, str(path))
    tokenizer = make_tokenizer(config)
    warnings = _hold(model, found.describe(tensors), path, tokenizer)
    origin = Origin(f"file:{path.resolve().name} (layout {name})", "loaded")
    origins = dict.fromkeys(("vision", "vision_projection", "text", "text_projection"), origin)
    for part in _TOWERS:
        origins[part] = replace(origin, warnings=tuple(warnings[f"model.{part}"]))
    of_tokenizer = warnings.get(TOKENIZER, []) + tokenizer_warnings(tokenizer, config)
    return assemble(config, model, tokenizer, origins, of_tokenizer)


@dataclass(frozen=True)
class Fitted:
    """What fills a model, and its story.

    Attributes:
        tensors: by the model's own names.
        origins: of each part.
        of_tokenizer: what is to be said of the tokenizer.
    """

    tensors: Mapping[str, Tensor]
    origins: Mapping[str, Origin]
    of_tokenizer: Sequence[str]


def fill_model(
    config: EngineConfig, model: DualEncoder, tokenizer: Tokenizer, fitted: Fitted, where: str
) -> Built:
    """Fill a model and put it together with its story.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape or not finite.
    """
    _fill(model, fitted.tensors, where)
    warnings = [*fitted.of_tokenizer, *tokenizer_warnings(tokenizer, config)]
    return assemble(config, model, tokenizer, dict(fitted.origins), warnings)


def _fill(model: DualEncoder, tensors: Mapping[str, Tensor], where: str) -> None:
    fill(
        model,
        dict(tensors),
        where,
        misfit=f"{where} does not fit the config",
        hint="the config must describe the checkpoint's own model: widths, layers, vocabulary,"
        " projections",
    )


def _hold(
    model: DualEncoder,
    said: Mapping[str, Description],
    path: Path,
    tokenizer: Tokenizer | None = None,
) -> dict[str, list[str]]:
    """Hold the config against what lies beside the checkpoint, and what its tensors say.

    Args:
        model: of the config.
        said: by the tensors, of each tower.
        path: the checkpoint.
        tokenizer: of the config; ``None``: it is not made yet.

    Returns:
        Warnings by the plugin's place in the config: ``"model.text"``.

    Raises:
        WeightsError: a contradiction.
    """
    source = f"file:{path}"
    settings = model.text.settings
    end = text_end(tokenizer, settings.max_tokens) if isinstance(tokenizer, Tokenizer) else None
    found = {}
    for part in _TOWERS:
        own = [*([said[part]] if part in said else []), *describe_weights(source, part)]
        found[f"model.{part}"] = differences(getattr(model, part), own, end)
    if isinstance(tokenizer, Tokenizer):
        beside = tokenizer_differences(tokenizer, source, settings.max_tokens)
        found |= {place: found.get(place, []) + some for place, some in beside.items()}
    return check(found, str(path))


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of the file of weights in a folder.

    Raises:
        WeightsError: missing, damaged, or a folder without weights.
    """
    if not path.is_dir():
        return read_checkpoint(path)
    for name in _FILES:
        if (path / name).is_file():
            break
    else:
        raise WeightsError(
            f"{path} holds no weights (looked for {', '.join(_FILES)})",
            hint="name the file of weights itself",
        )
    if not name.endswith(".index.json"):
        return read_checkpoint(path / name)
    tensors: dict[str, Tensor] = {}
    for part in parts_of_index(path / name):
        tensors |= read_checkpoint(path / part)
    return tensors


def finish(
    layout: CheckpointAdapter, renamed: Mapping[str, Tensor], model: DualEncoder, where: str
) -> dict[str, Tensor]:
    """Let the layout join and split, then each tower fit its own part.

    Raises:
        WeightsError: a part of the checkpoint has no counterpart; names ``where``.
    """
    try:
        with adapting("the checkpoint", f"the layout {type(layout).__name__}"):
            done = _scalars(layout.finish(renamed, model.state_dict().keys()))
    except WeightsError as error:
        raise WeightsError(f"{where}: {error.message}", hint=error.hint) from error
    return _adapt(model, done)


def _scalars(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scale and the bias without the dimension of size 1 that transformers gives them."""
    whole = {name: tensors[name] for name in LOGITS if name in tensors}
    bare = {name: t.reshape(()) for name, t in whole.items() if t.shape == (1,)}
    return {**tensors, **bare}


def rename(
    tensors: Mapping[str, Tensor], layout: CheckpointAdapter, where: str
) -> dict[str, Tensor]:
    """Engine's names, all floating-point tensors in float32."""
    renamed: dict[str, Tensor] = {}
    old_names: dict[str, str] = {}
    for key, tensor in tensors.items():
        new = layout.rename(key)
        if new is None:
            continue
        if new in old_names:
            raise WeightsError(f"{where}: `{old_names[new]}` and `{key}` are both {new}")
        old_names[new] = key
        renamed[new] = tensor.float() if tensor.dtype.is_floating_point else tensor
    return renamed


def _adapt(model: DualEncoder, renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Let each tower fit its own part; the rest stays as it is."""
    adapted = dict(renamed)
    for part, tower in (("vision", model.vision), ("text", model.text)):
        prefix = f"{part}."
        own = {k[len(prefix) :]: adapted.pop(k) for k in renamed if k.startswith(prefix)}
        with adapting("the checkpoint", type(tower).__name__):
            adapted |= {prefix + name: tensor for name, tensor in tower.adapt(own).items()}
    return adapted


def find_adapter(
    tensors: Mapping[str, Tensor], name: str | None, registry: Registry, where: str
) -> tuple[str, CheckpointAdapter]:
    """The layout of that name, or the one that knows these names.

    Raises:
        WeightsError: none or more than one does.
        PluginError: there is no layout of that name.
    """

    def make(name: str) -> CheckpointAdapter:
        plugin = registry.get("checkpoint_adapter", name)
        layout: CheckpointAdapter = plugin.load()(plugin.load_settings()())
        return layout

    if name is not None:
        return name, make(name)
    known = {candidate: make(candidate) for candidate in registry.names("checkpoint_adapter")}
    fitting = [name for name, layout in known.items() if layout.matches(tensors.keys())]
    if len(fitting) == 1:
        return fitting[0], known[fitting[0]]
    if fitting:
        raise WeightsError(
            f"{where}: more than one layout has these names: {', '.join(fitting)}",
            hint="choose one with --adapter",
        )
    shown = ", ".join(sorted(tensors)[:4])
    raise WeightsError(
        f"{where}: no known layout has these names (it holds {shown} ...)",
        hint=f"known layouts: {', '.join(known)}; choose one with --adapter",
    )

"""A model of a config: with random weights, with the tensors of a file, or with given ones.

Nothing is initialised only to be overwritten: a model that is to have tensors is made on the meta
device and compared with them first, and they become its own without a copy.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.contracts.filling import check_filled, explain_misfit, tied_names, with_ties
from engine.contracts.finite import check_finite
from engine.core import artifact
from engine.core.config.schema import EngineConfig
from engine.core.model import DualEncoder
from engine.core.registry import Registry
from engine.core.stored_tables import StoredRows, decoded_blocks, put_tables, tables_of
from engine.core.verified import is_known, remember, state_of
from engine.core.weights import read_and_keep
from engine.errors import ArtifactError, EngineError, WeightsError

FINITE = "every number is finite"
"""What is remembered of a file whose tensors are stored as they are."""


def make_model(config: EngineConfig) -> DualEncoder:
    """A model with random weights; each part's depend on the seed and its own settings alone."""
    settings = config.model

    def make(part: str, create: Callable[[], nn.Module]) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1_000_003 + zlib.crc32(part.encode()))
            return create()

    vision = make("vision", settings.vision.create)
    text = make("text", settings.text.create)
    width = settings.embed_dim
    projection = settings.projection
    return DualEncoder(
        vision,
        text,
        make("vision_projection", lambda: projection.vision.create(vision.width, width)),
        make(
            "text_projection",
            lambda: projection.text.create(text.width, width, embedding_width=text.embedding_width),
        ),
        settings.logit_scale,
        settings.logit_bias,
    )


def read_model(
    config: EngineConfig,
    path: Path,
    manifest: Mapping[str, Any],
    registry: Registry,
    *,
    stored_tables: bool,
) -> DualEncoder:
    """The model of a config with the weights of a file.

    It is made on the meta device and compared with the file before anything is allocated; the
    file's tensors then become its own, and nothing is initialised only to be overwritten.
    """
    try:
        with torch.device("meta"), _Uninitialised():
            model = make_model(config)
        keep = tables_of(model, _stored_shapes(manifest)) if stored_tables else set()
        read, kept = read_and_keep(path, manifest, registry, keep)
        names = model.state_dict().keys() - tied_names(model).keys()
        merged = not names <= read.keys() | kept.keys()  # adapters were folded in before
        if merged:
            with torch.device("meta"), _Uninitialised():
                model.merge()
        tensors = with_ties(model, read)
    except WeightsError as error:
        raise ArtifactError(error.message, hint=error.hint) from error
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in kept}
    if misfit := explain_misfit(own, tensors):
        raise ArtifactError(f"{path} does not fit its {artifact.CONFIG}:\n{misfit}")
    if any(name not in own and name not in kept for name, _ in model.named_buffers()):
        model = make_model(config)  # a buffer that is not stored must be computed for real
        if merged:
            model.merge()
    _assign(model, tensors, kept.keys())
    _check_read_numbers(path, model, manifest)
    rows = {name: StoredRows(one) for name, one in kept.items()}
    for name, block in decoded_blocks(rows):
        check_finite(str(path), {name: block}, error=ArtifactError)
    put_tables(model, rows)
    return model


def _check_read_numbers(path: Path, model: DualEncoder, manifest: Mapping[str, Any]) -> None:
    """Raise ArtifactError where a number is not finite.

    Numbers that lie in the file as they are were finite if they were so in its present state
    before; reading 1.5 GB for that again takes longer than everything else together.
    """
    as_they_are = all(entry["use"] is None for entry in manifest.get("storage", []))
    if as_they_are and is_known(path, (FINITE,)):
        _check_scale(str(path), model, ArtifactError)
        return
    state = state_of(path)
    check_numbers(str(path), model, ArtifactError)
    if as_they_are:
        remember(path, state, (FINITE,))


def shapes_of(config: EngineConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of a config's state dict, adapters folded in; nothing is allocated."""
    with torch.device("meta"), _Uninitialised():
        model = make_model(config)
        model.merge()
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def empty_model(config: EngineConfig) -> DualEncoder:
    """The model of a config on the meta device: its shapes and settings, without numbers."""
    with torch.device("meta"), _Uninitialised():
        return make_model(config).eval()


def model_of(config: EngineConfig, tensors: Mapping[str, Tensor]) -> DualEncoder:
    """The model of a config with the given tensors as its own, not copied; adapters folded in.

    Raises:
        WeightsError: they are not those of the config's model.
    """
    with torch.device("meta"), _Uninitialised():
        model = make_model(config)
        model.merge()
    complete = with_ties(model, tensors)
    own = model.state_dict()
    if misfit := explain_misfit(own, complete):
        raise WeightsError(f"the tensors do not fit the config {config.name}:\n{misfit}")
    if any(name not in own for name, _ in model.named_buffers()):
        model = make_model(config)
        model.merge()
    _assign(model, complete)
    check_numbers(config.name, model, WeightsError)
    return model.eval()


def _stored_shapes(manifest: Mapping[str, Any]) -> dict[str, list[int]]:
    """The shapes of all tensors that have a storage."""
    stored = (entry for entry in manifest.get("storage", []) if entry["use"] is not None)
    return {name: shape for entry in stored for name, shape in entry["tensors"].items()}


def check_numbers(where: str, model: DualEncoder, error: type[EngineError]) -> None:
    """Raise ``error`` where a stored number, or the factor on the cosines, is not finite."""
    check_filled(where, model, error)
    _check_scale(where, model, error)


def _check_scale(where: str, model: DualEncoder, error: type[EngineError]) -> None:
    check_finite(where, {"exp(logit_scale)": model.logit_scale.exp()}, error=error)


def _assign(
    model: DualEncoder, tensors: Mapping[str, Tensor], without: Collection[str] = ()
) -> None:
    """Make the tensors the model's own, as float32 where they are floats; tied ones stay tied.

    Tensors in ``without`` are left as they are, on the meta device.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    made: dict[int, Tensor] = {}

    def own(name: str, tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            kept = tensor.float() if tensor.is_floating_point() else tensor
            parameter = parameters.get(name)
            made[id(tensor)] = (
                kept if parameter is None else nn.Parameter(kept, parameter.requires_grad)
            )
        return made[id(tensor)]

    model.load_state_dict(
        {name: own(name, tensor) for name, tensor in tensors.items()},
        strict=not without,
        assign=True,
    )


class _Uninitialised(TorchFunctionMode):
    """Leaves out ``torch.nn.init``.

    On the meta device it would import PyTorch's compiler, a second or two for nothing.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)

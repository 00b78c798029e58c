"""The names of cached activations: digests of everything that the numbers follow from.

One function names a cache, for training and for evaluation: :func:`activation_key`, of the weights,
the settings, the code, the libraries, the precision and the kind of device. Another one names a
sample within it: :func:`item_key`. So a stale number is never found, and runs that share all of
these share what they computed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from types import CodeType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.cache.entry import Entry
from engine.contracts.settings import PluginRef
from engine.contracts.state import Segment
from engine.contracts.tower import Tower
from engine.core.code_identity import reachable_code
from engine.core.registry import Registry, default_registry

FORMAT = 2
"""Of what is stored. Raise it where the same ingredients would give other bytes."""

_PACKS = "engine.cache.items"
"""Beside the tower's own modules: what turns its output into bytes."""

_PREPARES = "engine.contracts.preprocess"
"""Of towers of pictures, too: what turns pixels into the input."""


def item_key(array: NDArray[Any]) -> bytes:
    """16 bytes that name a sample by its content: pixels, or the ids of its tokens."""
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def activation_key(
    tower: Tower,
    stop: int,
    plugin: PluginRef,
    entries: Sequence[Entry],
    *,
    device: torch.device,
    precision: torch.dtype,
    registry: Registry | None = None,
) -> str:
    """Names what the first segments of a tower give, for any sample.

    Args:
        tower: the tower, its weights loaded.
        stop: the number of segments that are run.
        plugin: the tower's plugin and settings.
        entries: what is kept of the state, and in which dtype.
        device: where the tower runs; its kind counts, not its number.
        precision: the autocast dtype that it runs under; float32: without autocast.
        registry: of the plugins, by default all that are installed.

    Returns:
        32 hexadecimal digits.
    """
    registry = registry or default_registry()
    preprocess = getattr(tower, "preprocess", None)
    settings = {k: v for k, v in plugin.to_config().items() if k not in ("weights", "tokenizer")}
    about = {
        "format": FORMAT,
        "stop": stop,
        "entries": [asdict(entry) for entry in entries],
        "settings": settings,
        "plugin": str(registry.registered(plugin.kind, plugin.name).distribution),
        "preprocess": preprocess.identity() if preprocess is not None else None,
        "device": device.type,
        "precision": precision_of(device, precision),
        "compiled": any(_is_compiled(part) for part in _modules(tower, stop)),
        "torch": torch.__version__,
        "code": code_of(tower, registry),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, ensure_ascii=False).encode())
    for segment in tower.segments()[:stop]:
        for part in segment.parts:
            for name, tensor in _parameters(part):
                _add(digest, f"{segment.name}/{name}", tensor)
    later = {id(b) for segment in tower.segments()[stop:] for b in _buffers(segment)}
    for name, tensor in tower.named_buffers():
        if id(tensor) not in later:  # running statistics that train do not belong to the prefix
            _add(digest, name, tensor)
    return digest.hexdigest()[:32]


def precision_of(device: torch.device, precision: torch.dtype) -> list[str]:
    """The rules by which a device rounds: autocast, and how products of float32 are computed."""
    rules = [str(precision).removeprefix("torch."), torch.get_float32_matmul_precision()]
    if device.type == "cuda":
        rules += [
            f"tf32 {torch.backends.cuda.matmul.allow_tf32} {torch.backends.cudnn.allow_tf32}",
            f"fp16 {torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction}",
            f"bf16 {torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction}",
        ]
    return rules


def code_of(tower: nn.Module, registry: Registry | None = None) -> dict[str, str]:
    """The code that a tower's numbers follow from.

    That is the source of its classes and of its preprocessing, of what they import, of Engine's own
    part in it; and the versions of the libraries that these use (PyTorch, timm, transformers ...).
    How a picture's file is read and cut does not count: samples are named by their pixels.
    """
    registry = registry or default_registry()
    classes = {kind for part in tower.modules() for kind in type(part).__mro__}
    roots = {_PACKS}
    preprocess = getattr(tower, "preprocess", None)
    if preprocess is not None:
        classes.update(type(preprocess).__mro__)
        roots.add(_PREPARES)
    own = {kind.__module__.partition(".")[0] for kind in (*type(tower).__mro__, type(preprocess))}
    own -= {"torch", *sys.stdlib_module_names}
    plugins = {each.plugin.target.partition(".")[0] for each in registry.all()}
    roots |= {kind.__module__ for kind in classes if not _made_here(kind)}
    found = reachable_code(roots, {"engine", *own, *plugins})
    for kind in classes:
        if _made_here(kind):
            name = f"class {kind.__module__}.{kind.__qualname__}"
            found[name] = _code_digest(kind)
    return dict(sorted(found.items()))


def _made_here(kind: type) -> bool:
    """Whether a class comes from no file: a notebook's, for example."""
    if kind.__module__.partition(".")[0] in {"torch", *sys.stdlib_module_names}:
        return False
    try:
        inspect.getfile(kind)
    except (TypeError, OSError):
        return True
    return kind.__module__ == "__main__"


def _code_digest(kind: type) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(vars(kind).items()):
        function = inspect.unwrap(getattr(value, "__func__", value))
        if code := getattr(function, "__code__", None):
            digest.update(name.encode())
            for piece in _code_pieces(code):
                digest.update(piece)
    return digest.hexdigest()


def _code_pieces(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_pieces(constant)
        else:
            yield repr(constant).encode()


def _modules(tower: Tower, stop: int) -> list[nn.Module]:
    parts = [part for segment in tower.segments()[:stop] for part in segment.parts]
    return [
        tower,
        *(module for part in parts if isinstance(part, nn.Module) for module in part.modules()),
    ]


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None


def _buffers(segment: Segment) -> list[Tensor]:
    return [b for part in segment.parts if isinstance(part, nn.Module) for b in part.buffers()]


def _parameters(part: nn.Module | nn.Parameter) -> list[tuple[str, Tensor]]:
    return [("", part)] if isinstance(part, nn.Parameter) else list(part.named_parameters())


def _add(digest: Any, name: str, tensor: Tensor) -> None:
    digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)

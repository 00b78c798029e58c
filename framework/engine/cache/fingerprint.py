"""The name of a tower's stretch: a digest of everything that its numbers follow from."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.settings import Use
from engine.contracts.state import Segment
from engine.contracts.tower import Tower
from engine.registry import default_registry

VERSION = 1
"""Of what is stored. Raise it where the same weights would give other numbers."""


def fingerprint(tower: Tower, stop: int, use: Use, dtype: str, more: str = "") -> str:
    """Names everything that the numbers of a stretch follow from, beside the sample itself.

    That is the content of its weights and buffers, the plugin with its settings and its package's
    version, the versions of PyTorch and of this format, the dtype.
    """
    digest = hashlib.sha256()
    settings = {k: v for k, v in use.to_config().items() if k not in ("weights", "tokenizer")}
    version = default_registry().registered(use.kind, use.name).distribution
    about = [VERSION, stop, dtype, settings, str(version), torch.__version__, more]
    digest.update(json.dumps(about, sort_keys=True, ensure_ascii=False).encode())
    for segment in tower.segments()[:stop]:
        for part in segment.parts:
            for name, tensor in _tensors(part):
                _add(digest, f"{segment.name}/{name}", tensor)
    later = {id(b) for segment in tower.segments()[stop:] for b in _buffers(segment)}
    for name, tensor in tower.named_buffers():
        if id(tensor) not in later:  # running statistics that train are not the stretch's
            _add(digest, name, tensor)
    return digest.hexdigest()[:32]


def code_of(module: nn.Module) -> str:
    """A digest of the files that the classes of a module's parts are written in.

    For a name that outlives a change of code without a new version, as while a plugin is written,
    and versions of libraries that a tower is made of. PyTorch's own files are left out.
    """
    files = set()
    for kind in {type(part) for part in module.modules()}:
        if not kind.__module__.startswith("torch."):
            try:
                files.add(inspect.getfile(kind))
            except (TypeError, OSError):
                files.add(f"no file: {kind.__module__}.{kind.__qualname__}")
    digest = hashlib.sha256()
    for name in sorted(files):
        path = Path(name)
        digest.update(path.read_bytes() if path.is_file() else name.encode())
    return digest.hexdigest()[:32]


def _buffers(segment: Segment) -> list[Tensor]:
    return [b for part in segment.parts if isinstance(part, nn.Module) for b in part.buffers()]


def _tensors(part: nn.Module | nn.Parameter) -> list[tuple[str, Tensor]]:
    return [("", part)] if isinstance(part, nn.Parameter) else list(part.named_parameters())


def _add(digest: Any, name: str, tensor: Tensor) -> None:
    digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)

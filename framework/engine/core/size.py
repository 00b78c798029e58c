"""Sizes: the exact bytes of a model's weight file, part by part, before it exists.

No weight is allocated. Where every part has a plan (``engine.contracts.plan``) PyTorch is not even
imported; a part without one is built on PyTorch's meta device.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contracts.plan import Plan, TensorDtype, TensorPlan, TowerPlan
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.settings import PluginRef
from engine.contracts.tower_settings import TowerSettings
from engine.core import artifact
from engine.core.config.schema import EngineConfig
from engine.errors import ArtifactError, LimitError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.contracts.projection import Projection
    from engine.contracts.tower import Tower

PARTS = ("vision", "vision_projection", "text", "text_projection", "logit_scale")
"""The parts of every model, as the names of its tensors begin; some have a ``logit_bias`` too."""

_WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "bool": 1}
_CODE = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "bool": "BOOL"}
# The order in which the safetensors library lays dtypes out: widest alignment first.
_ORDER = ("int64", "float32", "bfloat16", "float16", "bool")


@dataclass(frozen=True)
class PartSize:
    """One part.

    Attributes:
        name: one of ``PARTS``, or ``logit_bias``.
        plugin: name of its plugin; empty for ``logit_scale`` and ``logit_bias``.
        num_parameters: how many numbers its parameters hold; tied parameters count once.
        num_buffers: how many numbers its stored buffers hold (running statistics, say), which
            no optimizer trains.
        bytes: of both.
    """

    name: str
    plugin: str
    num_parameters: int
    num_buffers: int
    bytes: int


@dataclass(frozen=True)
class SizeReport:
    """What a model's weights weigh.

    Attributes:
        name: the model's name.
        parts: part by part.
        header: bytes of the file's header (names, shapes, places).
        limit: bytes allowed, or ``None``.
    """

    name: str
    parts: tuple[PartSize, ...]
    header: int
    limit: int | None = None

    @property
    def total(self) -> int:
        """Bytes of the weight file."""
        return self.header + sum(part.bytes for part in self.parts)

    @property
    def num_parameters(self) -> int:
        """Numbers in all parameters together."""
        return sum(part.num_parameters for part in self.parts)

    @property
    def num_buffers(self) -> int:
        """Numbers in all stored buffers together."""
        return sum(part.num_buffers for part in self.parts)

    @property
    def over(self) -> int:
        """Bytes over the limit, 0 where it is kept or there is none."""
        return 0 if self.limit is None else max(0, self.total - self.limit)

    def check(self) -> None:
        """Raise LimitError where the limit is broken; names the heaviest part."""
        if self.over and self.limit is not None:
            heaviest = max(self.parts, key=lambda part: part.bytes)
            raise LimitError(
                f"{self.name} weighs {self.total:,} bytes, {self.over:,} over its limit of"
                f" {self.limit:,}",
                hint=f"the heaviest part is {heaviest.name} ({heaviest.bytes:,} bytes);"
                " `--set storage.dtype=float16` halves every part",
            )

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "name": self.name,
            "bytes": self.total,
            "num_parameters": self.num_parameters,
            "num_buffers": self.num_buffers,
            "header_bytes": self.header,
            "limit": self.limit,
            "over": self.over,
            "parts": [vars(part) for part in self.parts],
        }


def plan_of_module(module: nn.Module) -> Plan:
    """The plan of a built module (on any device, meta too); a tied tensor is in it once."""
    from engine.contracts.filling import tied_names

    plan: Plan = {}
    tied = tied_names(module)
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    for name, tensor in module.state_dict().items():
        if name not in tied:
            plan[name] = TensorPlan(tuple(tensor.shape), _kind(name, tensor), name in buffers)
    return plan


def _kind(name: str, tensor: Tensor) -> TensorDtype:
    if tensor.is_floating_point():
        return "float"
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind == "int64":
        return "int64"
    if kind == "bool":
        return "bool"
    raise ArtifactError(f"tensor {name} has dtype {tensor.dtype}, which has no place here")


def tower_plan(use: PluginRef[TowerSettings, Tower], *, meta: bool = False) -> TowerPlan:
    """A tower's plan, from its settings or (``meta``, or where it has none) the meta device."""
    if not meta and (plan := use.settings.plan()) is not None:
        return plan
    import torch

    with torch.device("meta"):
        tower = use.create()
        tower.merge()  # what an artifact holds
    return TowerPlan(tower.width, plan_of_module(tower), getattr(tower, "embedding_width", None))


def projection_plan(
    use: PluginRef[ProjectionSettings, Projection],
    source: TowerPlan,
    embed_dim: int,
    *,
    meta: bool = False,
) -> Plan:
    """A projection's plan, from its settings or the meta device."""
    widths = (source.width, embed_dim)
    if not meta and (plan := use.settings.plan(*widths, source.embedding_width)) is not None:
        return plan
    import torch

    with torch.device("meta"):
        projection = use.create(*widths, embedding_width=source.embedding_width)
    return plan_of_module(projection)


def model_plan(config: EngineConfig, *, meta: bool = False) -> Plan:
    """Every tensor of the model's state dict.

    Args:
        config: the config.
        meta: build every part on the meta device, also those with a plan of their own.
    """
    model = config.model
    vision, text = tower_plan(model.vision, meta=meta), tower_plan(model.text, meta=meta)
    parts: dict[str, Plan] = {
        "vision": vision.tensors,
        "vision_projection": projection_plan(
            model.projection.vision, vision, model.embed_dim, meta=meta
        ),
        "text": text.tensors,
        "text_projection": projection_plan(model.projection.text, text, model.embed_dim, meta=meta),
    }
    plan = {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    plan["logit_scale"] = TensorPlan(())
    if model.logit_bias is not None:
        plan["logit_bias"] = TensorPlan(())
    return plan


def header_bytes(plan: Plan, dtype: str) -> int:
    """Bytes of a safetensors file's header for these tensors, its 8 bytes of length included.

    The header is JSON (names in the library's own order, offsets counted up), filled up with
    spaces to a multiple of 8. Source: github.com/huggingface/safetensors, "Format".
    """
    rows = [
        (_dtype(tensor, dtype), name.encode(), name, tensor.shape) for name, tensor in plan.items()
    ]
    rows.sort(key=lambda row: (_ORDER.index(row[0]), row[1]))
    header: dict[str, object] = {}
    place = 0
    for kind, _, name, shape in rows:
        end = place + math.prod(shape) * _WIDTH[kind]
        header[name] = {"dtype": _CODE[kind], "shape": shape, "data_offsets": [place, end]}
        place = end
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8


def _dtype(tensor: TensorPlan, storage: str) -> str:
    return storage if tensor.dtype == "float" else tensor.dtype


def size_of_plan(plan: Plan, config: EngineConfig, limit: int | None) -> SizeReport:
    """The report of a plan, stored as the config says."""
    dtype = config.storage.dtype
    model = config.model
    plugins = {
        "vision": model.vision.name,
        "vision_projection": model.projection.vision.name,
        "text": model.text.name,
        "text_projection": model.projection.text.name,
    }
    parts = []
    for part in (*PARTS, "logit_bias"):
        own = [t for name, t in plan.items() if name.split(".", 1)[0] == part]
        if part == "logit_bias" and not own:
            continue  # most models have none
        trained = sum(math.prod(tensor.shape) for tensor in own if not tensor.buffer)
        stored = sum(math.prod(tensor.shape) for tensor in own if tensor.buffer)
        weight = sum(math.prod(t.shape) * _WIDTH[_dtype(t, dtype)] for t in own)
        parts.append(PartSize(part, plugins.get(part, ""), trained, stored, weight))
    return SizeReport(config.name, tuple(parts), header_bytes(plan, dtype), limit)


def config_size(
    config: EngineConfig, limit: int | None = None, *, meta: bool = False
) -> SizeReport:
    """The exact size of the weight file that a build of this config writes.

    Args:
        config: the config.
        limit: bytes allowed; default: the config's own ``limits.weights``.
        meta: see :func:`model_plan`.
    """
    own = config.limits.weights if limit is None else limit
    return size_of_plan(model_plan(config, meta=meta), config, own)


def artifact_size(folder: Path, limit: int | None = None) -> SizeReport:
    """The size of a written artifact's weight file, from the file's own header.

    Raises:
        ArtifactError: not an artifact, or its weight file is not whole or does not fit its config.
        ConfigError: its config does not load here.
    """
    from engine.core.config import load_config

    config = load_config(folder / artifact.CONFIG)
    artifact.read_manifest(folder, verify=False)
    path = folder / artifact.WEIGHTS
    own = config.limits.weights if limit is None else limit
    stored = _file_plan(path, config.storage.dtype)
    report = size_of_plan(_with_buffers(stored, model_plan(config), path), config, own)
    if report.total != path.stat().st_size:
        raise ArtifactError(
            f"{path} is {path.stat().st_size:,} bytes long, its own header says {report.total:,}",
            hint="the file was written by another program or damaged: build the artifact again",
        )
    return report


def _with_buffers(stored: Plan, planned: Plan, path: Path) -> Plan:
    """What a file holds, with what only the config knows: which tensors are buffers."""
    for name in stored.keys() | planned.keys():
        found, wanted = stored.get(name), planned.get(name)
        if found is None or wanted is None or found != replace(wanted, buffer=False):
            raise ArtifactError(
                f"{path} does not fit its {artifact.CONFIG}: {name} is"
                f" {'missing' if found is None else f'of shape {list(found.shape)}'} there",
                hint="build or copy the artifact again",
            )
    return {name: planned[name] for name in stored}


def _file_plan(path: Path, dtype: str) -> Plan:
    from safetensors import SafetensorError, safe_open

    plan: Plan = {}
    names = {code: kind for kind, code in _CODE.items()}
    try:
        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                part = file.get_slice(name)
                kind = names.get(part.get_dtype(), "?")
                if kind not in (dtype, "int64", "bool"):
                    raise ArtifactError(f"{path}: {name} is stored as {part.get_dtype()}")
                plan[name] = TensorPlan(
                    tuple(part.get_shape()),
                    "float" if kind == dtype else kind,  # type: ignore[arg-type]
                )
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not a whole safetensors file ({error})",
            hint="the file is cut short or damaged: copy or build it again",
        ) from error
    return plan

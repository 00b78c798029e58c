"""Sizes: the exact bytes of a model's weight file, part by part, before it exists.

No weight is allocated. Where every part has a plan (``engine.contracts.plan``) PyTorch is not even
imported; a part without one is built on PyTorch's meta device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contracts.plan import Plan, TensorDtype, TensorPlan, TowerPlan
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.settings import PluginRef
from engine.contracts.storage import DTYPES, StoredTensor
from engine.contracts.tower_settings import TowerSettings
from engine.core.config.schema import EngineConfig
from engine.core.storage import file_parts, plan_storage
from engine.errors import ArtifactError, LimitError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.contracts.projection import Projection
    from engine.contracts.tower import Tower

PARTS = ("vision", "vision_projection", "text", "text_projection", "logit_scale")
"""The parts of every model, as the names of its tensors begin; some have a ``logit_bias`` too."""


@dataclass(frozen=True)
class PartSize:
    """One part.

    Attributes:
        name: one of ``PARTS``, or ``logit_bias``.
        plugin: name of its plugin; empty for ``logit_scale`` and ``logit_bias``.
        num_parameters: how many numbers its parameters hold; tied parameters count once.
        num_buffers: how many numbers its stored buffers hold (running statistics, say), which
            no optimizer trains.
        bytes: of both, as they are stored.
        storage: how many of these bytes each storage takes, by its name.
    """

    name: str
    plugin: str
    num_parameters: int
    num_buffers: int
    bytes: int
    storage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorSize:
    """One tensor.

    Attributes:
        name: its name in the model.
        shape: its shape there.
        storage: name of the storage that holds it, or its dtype where it is stored as it is.
        bytes: of all its parts in the file, the header not counted.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    bytes: int


@dataclass(frozen=True)
class SizeReport:
    """The bytes of a model's weights.

    Attributes:
        name: the model's name.
        parts: part by part.
        header: bytes of the file's header (names, shapes, places).
        limit: bytes allowed, or ``None``.
        tensors: tensor by tensor.
        folder: bytes of all files of the artifact; ``None`` where none is written yet.
        folder_limit: bytes allowed for them, or ``None``.
        kind: what was asked: ``config``, ``artifact``, ``run`` (a training run's model) or
            ``export`` (its parts are files, its parameters are not counted).
        path: as it was given; empty where there is none.
    """

    name: str
    parts: tuple[PartSize, ...]
    header: int
    limit: int | None = None
    tensors: tuple[TensorSize, ...] = ()
    folder: int | None = None
    folder_limit: int | None = None
    kind: str = "config"
    path: str = ""

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
    def counted(self) -> bool:
        """Whether parameters and buffers are known; of an export only its files are."""
        return self.kind != "export"

    @property
    def over(self) -> int:
        """Bytes of weights over their limit, 0 where it is kept or there is none."""
        return 0 if self.limit is None else max(0, self.total - self.limit)

    @property
    def folder_over(self) -> int:
        """Bytes of the whole artifact over its limit, 0 where it is kept or there is none."""
        if self.folder is None or self.folder_limit is None:
            return 0
        return max(0, self.folder - self.folder_limit)

    def excess(self) -> str | None:
        """What is over its limit, in a sentence; ``None`` where nothing is."""
        if self.over:
            heaviest = max(self.parts, key=lambda part: part.bytes)
            plugin = f" ({heaviest.plugin})" if heaviest.plugin else ""
            return (
                f"{self.name} has {self.total:,} bytes, {self.over:,} over its limit of"
                f" {self.limit:,}; the heaviest part is {heaviest.name}{plugin},"
                f" {heaviest.bytes:,} bytes"
            )
        if self.folder_over:
            return (
                f"all files of {self.name} together have {self.folder:,} bytes,"
                f" {self.folder_over:,} over their limit of {self.folder_limit:,}; the weights have"
                f" {self.total:,} of them"
            )
        return None

    def check(self) -> None:
        """Raise LimitError where a limit is broken; names the heaviest part."""
        if (excess := self.excess()) is None:
            return
        single = sum(part.storage.get("float32", 0) for part in self.parts)
        hint = "`engine plugins storage` lists the storages that `storage.default` may name"
        if single > self.total / 2:
            hint = "`--set storage.default=float16` halves every part that is stored as float32"
        raise LimitError(excess, hint=hint)

    def to_json(self, *, tensors: bool = False) -> dict[str, object]:
        """For ``--json``.

        Args:
            tensors: also tensor by tensor.
        """
        found: dict[str, object] = {
            "name": self.name,
            "path": self.path,
            "kind": self.kind,
            "bytes": self.total,
            "num_parameters": self.num_parameters if self.counted else None,
            "num_buffers": self.num_buffers if self.counted else None,
            "header_bytes": self.header,
            "limit": self.limit,
            "over": self.over,
            "folder_bytes": self.folder,
            "folder_limit": self.folder_limit,
            "folder_over": self.folder_over,
            "parts": [asdict(part) for part in self.parts],
        }
        return {**found, "tensors": [asdict(one) for one in self.tensors]} if tensors else found


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


def header_bytes(parts: Mapping[str, StoredTensor]) -> int:
    """Bytes of a safetensors file's header for these parts, its 8 bytes of length included.

    The header is JSON (names in the library's own order, offsets counted up), filled up with
    spaces to a multiple of 8. Source: github.com/huggingface/safetensors, "Format".
    """
    order = {code: number for number, code in enumerate(DTYPES)}
    header: dict[str, object] = {}
    place = 0
    for name in sorted(parts, key=lambda name: (order[parts[name].dtype], name.encode())):
        part = parts[name]
        end = place + part.bytes
        header[name] = {"dtype": part.dtype, "shape": part.shape, "data_offsets": [place, end]}
        place = end
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8


def size_of_plan(plan: Plan, config: EngineConfig, limit: int | None) -> SizeReport:
    """The report of a plan, stored as the config says.

    Raises:
        ConfigError: the config's ``storage`` does not fit the plan.
    """
    stored = plan_storage(plan, config.storage)
    model = config.model
    plugins = {
        "vision": model.vision.name,
        "vision_projection": model.projection.vision.name,
        "text": model.text.name,
        "text_projection": model.projection.text.name,
    }
    parts = []
    for part in (*PARTS, "logit_bias"):
        own = {name: t for name, t in plan.items() if name.split(".", 1)[0] == part}
        if part == "logit_bias" and not own:
            continue  # most models have none
        trained = sum(math.prod(tensor.shape) for tensor in own.values() if not tensor.buffer)
        buffers = sum(math.prod(tensor.shape) for tensor in own.values() if tensor.buffer)
        weight: dict[str, int] = {}
        for name in own:
            weight[stored[name].name] = weight.get(stored[name].name, 0) + stored[name].bytes
        parts.append(
            PartSize(part, plugins.get(part, ""), trained, buffers, sum(weight.values()), weight)
        )
    tensors = tuple(TensorSize(n, t.shape, t.name, t.bytes) for n, t in sorted(stored.items()))
    header = header_bytes(file_parts(stored))
    return SizeReport(
        config.name, tuple(parts), header, limit, tensors, folder_limit=config.limits.folder
    )


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
    """The size of a written artifact, its weights from the file's own header.

    Raises:
        ArtifactError: not an artifact, or its weight file is not whole or does not fit its config.
        ConfigError: its config does not load here.
    """
    from engine.core import artifact
    from engine.core.config import load_config
    from engine.core.model_path import model_folder
    from engine.core.tensor_header import read_header

    path_given, folder = folder, model_folder(folder)
    config = load_config(folder / artifact.CONFIG)
    artifact.read_manifest(folder, verify=False)
    path = folder / artifact.WEIGHTS
    own = config.limits.weights if limit is None else limit
    plan = model_plan(config)
    _compare(path, read_header(path), file_parts(plan_storage(plan, config.storage)))
    kind = "artifact" if folder == path_given else "run"
    report = replace(
        size_of_plan(plan, config, own), folder=artifact.folder_bytes(folder), kind=kind
    )
    if report.total != path.stat().st_size:
        raise ArtifactError(
            f"{path} is {path.stat().st_size:,} bytes long, its own header says {report.total:,}",
            hint="the file was written by another program or damaged: build the artifact again",
        )
    return report


def _compare(
    path: Path, there: Mapping[str, StoredTensor], planned: Mapping[str, StoredTensor]
) -> None:
    """Raise where a file holds other tensors than its config describes."""
    for name in sorted(there.keys() | planned.keys()):
        found, wanted = there.get(name), planned.get(name)
        if found != wanted:
            what = "missing" if found is None else f"{found.dtype} of shape {list(found.shape)}"
            expected = (
                "no such tensor" if wanted is None else f"{wanted.dtype} {list(wanted.shape)}"
            )
            raise ArtifactError(
                f"{path} does not fit its config.yaml: {name} is {what} there, and {expected}"
                " is expected",
                hint="build or copy the artifact again",
            )

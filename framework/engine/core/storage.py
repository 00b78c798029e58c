"""How each tensor of a model is stored: planned from the config.

The plan says for every tensor which storage holds it and which parts of the file that makes, before
there are numbers. What is planned here is written and read by ``engine.core.storage_file``. Nothing
here imports torch or numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from engine.contracts.plan import Plan
from engine.contracts.refs import StorageRef
from engine.contracts.storage import (
    DTYPES,
    Shape,
    Storage,
    StoredTensor,
)
from engine.core.config.schema import WeightStorageSettings
from engine.errors import ConfigError, PluginError

_UNCHANGED = {"float": "F32", "int64": "I64", "bool": "BOOL"}
"""The dtypes of a plan, and the codes under which their tensors are stored as they are."""

_NORMS, _BIASES = "norms", "biases"


@dataclass(frozen=True)
class TensorStorage:
    """How one tensor is stored.

    Attributes:
        shape: the tensor's own shape.
        ref: its storage; ``None`` for what is stored as it is: integers, truth values, and float32
            where the config names no storage.
        name: the storage's registered name, or the dtype of what is stored as it is.
        parts: by their names in the file.
    """

    shape: Shape
    ref: StorageRef | None
    name: str
    parts: Mapping[str, StoredTensor]

    @property
    def bytes(self) -> int:
        """Bytes of all its parts, the file's header not counted."""
        return sum(part.bytes for part in self.parts.values())


StoragePlan = dict[str, TensorStorage]
"""How every tensor of a model is stored, by the tensor's name."""


def plan_storage(plan: Plan, settings: WeightStorageSettings) -> StoragePlan:
    """How every tensor of a plan is stored.

    Raises:
        ConfigError: a pattern matches no tensor, or no storage that applies can hold a tensor.
        PluginError: two parts would have one name in the file, or a storage's plan is wrong.
    """
    rules = _Rules(plan, settings)
    planned: StoragePlan = {}
    owners: dict[str, str] = {}
    for name, tensor in plan.items():
        ref = rules.storage_of(name) if tensor.dtype == "float" else None
        if ref is not None:
            suffixes = parts_of(ref, rules.made(ref), tensor.shape)
            found = TensorStorage(
                tensor.shape, ref, ref.name, {name + end: part for end, part in suffixes.items()}
            )
        else:
            stored = StoredTensor(_UNCHANGED[tensor.dtype], tensor.shape)
            found = TensorStorage(tensor.shape, None, DTYPES[stored.dtype].name, {name: stored})
        for part in found.parts:
            if (other := owners.setdefault(part, name)) != name:
                raise PluginError(
                    f"{other} and {name} would both be stored under the name {part}",
                    hint="store one of them in another way, by `storage.rules`; they are stored as"
                    f" {planned[other].name} and {found.name}",
                )
        planned[name] = found
    return planned


class _Rules:
    """Finds the storage of each tensor of a plan."""

    def __init__(self, plan: Plan, settings: WeightStorageSettings) -> None:
        self._plan, self._settings = plan, settings
        self._storages: dict[int, Storage] = {}
        names = [name for name, tensor in plan.items() if tensor.dtype == "float"]
        self._kept = {
            name
            for number, pattern in enumerate(settings.keep)
            for name in self._matching(f"keep.{number}", pattern, names)
        }
        self._ruled: dict[str, StorageRef] = {}
        for number, ref in enumerate(settings.rules):
            for name in self._matching(f"rules.{number}.match", ref.settings.match, names):
                self._ruled.setdefault(name, ref)

    def _matching(self, place: str, pattern: str, names: list[str]) -> set[str]:
        words = {_NORMS: _norms, _BIASES: _biases}
        if pattern in words:  # words for a kind of tensor, which a model may well not have
            return words[pattern](self._plan)
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            raise ConfigError(
                f"storage.{place}: `{pattern}` matches the name of no tensor of floating-point"
                " numbers",
                hint="`engine size CONFIG --tensors` lists the names, without this pattern",
            )
        return found

    def storage_of(self, name: str) -> StorageRef | None:
        """The storage of a tensor of floating-point numbers; ``None``: it stays as it is."""
        fallback = self._settings.keep_as
        chosen = fallback if name in self._kept else self._ruled.get(name, self._settings.default)
        shape = self._plan[name].shape
        for ref in (chosen, fallback):
            if ref is None or self.made(ref).fits(shape):
                return ref
        assert fallback is not None
        raise ConfigError(
            f"storage `{fallback.name}` cannot hold {name} of shape {list(shape)}",
            hint="set `storage.keep_as` to one that holds every shape",
        )

    def made(self, ref: StorageRef) -> Storage:
        """The plugin of a reference, made once."""
        if id(ref) not in self._storages:
            self._storages[id(ref)] = ref.create()
        return self._storages[id(ref)]


def _norms(plan: Plan) -> set[str]:
    """The tensors of modules whose weight is a vector, or that keep running statistics.

    So a normalisation layer is known by its shapes, whatever a model calls it.
    """
    modules = {
        name.rpartition(".")[0]
        for name, tensor in plan.items()
        if name.endswith(".running_mean") or (name.endswith(".weight") and len(tensor.shape) == 1)
    }
    return {name for name in plan if name.rpartition(".")[0] in modules}


def _biases(plan: Plan) -> set[str]:
    """The vectors that are called ``bias``, or ``in_proj_bias`` and the like."""
    return {
        name
        for name, tensor in plan.items()
        if len(tensor.shape) == 1 and (name.rpartition(".")[2] == "bias" or name.endswith("_bias"))
    }


def parts_of(ref: StorageRef, storage: Storage, shape: Shape) -> dict[str, StoredTensor]:
    """The parts that a storage plans for a shape, by what stands behind the tensor's name.

    Raises:
        PluginError: there is none, or one has a dtype that no file has.
    """
    parts = dict(storage.plan(shape))
    unknown = {part.dtype for part in parts.values()} - DTYPES.keys()
    if not parts or unknown:
        wrong = f"names the unknown dtype `{min(unknown)}`" if unknown else "has no part"
        raise PluginError(
            f"storage `{ref.name}`: its plan for the shape {list(shape)} {wrong}",
            hint=f"dtypes are: {', '.join(DTYPES)}",
        )
    return parts


def file_parts(plan: StoragePlan) -> dict[str, StoredTensor]:
    """Every part of the file of weights, by its name there."""
    return {name: part for tensor in plan.values() for name, part in tensor.parts.items()}


def to_manifest(plan: StoragePlan) -> list[dict[str, Any]]:
    """How every tensor is stored, for the manifest: one entry for each storage with its settings.

    ``[{"use": "int8_rows", "settings": {}, "tensors": {"text.wte.weight": [50264, 768]}}, ...]``;
    ``use`` is null for what is stored as it is.
    """
    groups: list[dict[str, Any]] = []
    for name, tensor in plan.items():
        use, settings = None, {}
        if tensor.ref is not None:
            settings = {k: v for k, v in tensor.ref.to_config().items() if k != "match"}
            use = settings.pop("use")
        for group in groups:
            if (group["use"], group["settings"]) == (use, settings):
                group["tensors"][name] = list(tensor.shape)
                break
        else:
            groups.append({"use": use, "settings": settings, "tensors": {name: list(tensor.shape)}})
    return groups

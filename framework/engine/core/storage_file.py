"""The file of weights: tensors encoded as planned and written, read parts decoded.

Nothing here imports torch: a reader decodes with numpy alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from engine.contracts.refs import StorageRef
from engine.contracts.storage import DTYPES, Shape, Storage, StoredArray, StoredTensor
from engine.core.registry import Registry
from engine.core.storage import StoragePlan, TensorStorage, parts_of
from engine.errors import ArtifactError, EngineError, PluginError, WeightsError

if TYPE_CHECKING:
    import numpy as np

_SHOWN = 8


def encode(
    where: str, plan: StoragePlan, arrays: Mapping[str, np.ndarray], registry: Registry
) -> dict[str, StoredArray]:
    """What the file of weights holds.

    Args:
        where: whose tensors they are, for messages.
        plan: how each is stored.
        arrays: by the same names; finite float32 where the plan names a storage.
        registry: the plugins, to find a storage that holds what this one does not.

    Raises:
        WeightsError: a number cannot be held by its storage.
        PluginError: a storage gives something else than it planned.
    """
    stored: dict[str, StoredArray] = {}
    storages: dict[int, Storage] = {}
    for name, tensor in plan.items():
        if tensor.ref is None:
            (part,) = tensor.parts.items()
            stored[part[0]] = StoredArray(part[1].dtype, arrays[name])
            continue
        if id(tensor.ref) not in storages:
            storages[id(tensor.ref)] = tensor.ref.create()
        storage = storages[id(tensor.ref)]
        try:
            parts = _encoded(storage, arrays[name])
        except WeightsError as error:
            raise _refused(where, name, tensor, arrays[name], error.message, registry) from error
        own = {name + end: part for end, part in parts.items()}
        if {key: part.plan for key, part in own.items()} != tensor.parts:
            raise PluginError(
                f"storage `{tensor.name}` encoded {name} as {_shown(own)} and planned"
                f" {_shown(tensor.parts)}",
                hint="a fault of the plugin: its plan() and encode() differ",
            )
        stored |= own
    return stored


def _encoded(storage: Storage, array: np.ndarray) -> dict[str, StoredArray]:
    """The parts of an array, after a look at what a reader will make of them."""
    import numpy as np

    parts = dict(storage.encode(array))
    for part in parts.values():
        carrier = DTYPES[part.dtype].carrier if part.dtype in DTYPES else "?"
        if str(part.array.dtype) != carrier:
            raise PluginError(
                f"an array of {part.array.dtype} cannot carry the dtype {part.dtype}",
                hint=f"a fault of {type(storage).__module__}: it takes an array of {carrier}",
            )
    if not np.isfinite(storage.decode(parts, array.shape)).all():
        raise WeightsError("would give it back as infinite or as NaN")
    return parts


def _shown(parts: Mapping[str, StoredArray] | Mapping[str, StoredTensor]) -> str:
    plans = {n: part.plan if isinstance(part, StoredArray) else part for n, part in parts.items()}
    return ", ".join(f"{name} {part.dtype} {list(part.shape)}" for name, part in plans.items())


def _refused(
    where: str,
    name: str,
    tensor: TensorStorage,
    array: np.ndarray,
    reason: str,
    registry: Registry,
) -> WeightsError:
    """The error of a number that a storage does not hold, and which one would hold it."""
    import numpy as np

    largest = float(np.abs(array).max(initial=0))
    fitting = _holding(tensor, largest, registry)
    return WeightsError(
        f"{where}: {name} holds {largest:,.6g}, and its storage {tensor.name} {reason}",
        hint=f"set storage.default to {fitting}, which holds it, or add a rule for this tensor to"
        " `storage.rules`"
        if fitting
        else "no installed storage holds a number as large as this one",
    )


def _holding(tensor: TensorStorage, number: float, registry: Registry) -> str | None:
    """The smallest storage that holds a number, of those that are not smaller than the present."""
    import numpy as np

    sizes: list[tuple[int, str]] = []
    for name in registry.names("storage"):
        with contextlib.suppress(EngineError, ValidationError):
            ref = _reference(name, {}, registry)
            storage: Storage = ref.create()
            if storage.fits(tensor.shape) and storage.fits((1, 1)):
                _encoded(storage, np.full((1, 1), number, np.float32))
                size = sum(part.bytes for part in storage.plan(tensor.shape).values())
                sizes.append((size, name))
    return min((found for found in sizes if found[0] >= tensor.bytes), default=(0, None))[1]


def _reference(name: str, settings: Mapping[str, Any], registry: Registry) -> StorageRef:
    adapter: TypeAdapter[StorageRef] = TypeAdapter(StorageRef)
    return adapter.validate_python({"use": name, **settings}, context={"registry": registry})


def write_parts(path: Path, stored: Mapping[str, StoredArray]) -> None:
    """Write a safetensors file.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    import numpy as np
    from safetensors import TensorSpec, serialize_file

    # The library reads each array at its address, so the arrays must live until it is done.
    arrays = {name: np.require(part.array, requirements="C") for name, part in stored.items()}
    specs = {
        name: TensorSpec(
            dtype=DTYPES[part.dtype].name,
            shape=list(part.array.shape),
            data_ptr=arrays[name].ctypes.data,
            data_len=arrays[name].nbytes,
        )
        for name, part in stored.items()
    }
    serialize_file(specs, path, metadata=None)


class EncodedTensor(NamedTuple):
    """A tensor that was not decoded.

    Attributes:
        storage: what wrote it, and decodes it.
        parts: its arrays in the file, by the suffix after the name of the tensor.
        shape: of the decoded tensor.
    """

    storage: Storage
    parts: Mapping[str, StoredArray]
    shape: Shape


def decode(
    where: str,
    entries: list[dict[str, Any]],
    parts: Mapping[str, StoredArray],
    registry: Registry,
    keep: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, EncodedTensor]]:
    """The tensors of a file of weights.

    Args:
        where: the file, for messages.
        entries: how its tensors are stored, see ``storage.to_manifest``.
        parts: everything in the file.
        registry: the plugins.
        keep: names of tensors that are not to be decoded; what has no storage is not one of them.

    Returns:
        The tensors by name, float32 where they have a storage, without those that are kept; and
        those. What no entry names is given as it is, under the name that it has in the file: who
        wants a model of it says what is unknown.

    Raises:
        ArtifactError: the file does not hold what the entries say.
        ConfigError: a storage is not installed.
    """
    found: dict[str, np.ndarray] = {}
    kept: dict[str, EncodedTensor] = {}
    taken: set[str] = set()
    misfits: list[str] = []
    for entry in entries:
        if entry["use"] is None:
            continue
        ref = _stored_reference(where, entry, registry)
        storage: Storage = ref.create()
        for name, given in entry["tensors"].items():
            shape = tuple(given)
            planned = parts_of(ref, storage, shape) if storage.fits(shape) else {}
            own = {end: parts[name + end] for end in planned if name + end in parts}
            taken |= {name + end for end in planned}
            if wrong := _misfits(name, planned, own):
                misfits += wrong
                continue
            if name in keep:
                kept[name] = EncodedTensor(storage, own, shape)
                continue
            found[name] = storage.decode(own, shape)
            if found[name].shape != shape or found[name].dtype != "float32":
                raise PluginError(
                    f"storage `{ref.name}` decoded {name} as {found[name].dtype}"
                    f" {list(found[name].shape)} instead of float32 {given}"
                )
    if misfits:
        more = [f"and {len(misfits) - _SHOWN} more"] if len(misfits) > _SHOWN else []
        lines = "\n".join(f"  {line}" for line in misfits[:_SHOWN] + more)
        raise ArtifactError(f"{where} does not fit its manifest:\n{lines}")
    rest = {name: part.array for name, part in parts.items() if name not in taken}
    return found | rest, kept


def _stored_reference(where: str, entry: Mapping[str, Any], registry: Registry) -> StorageRef:
    try:
        return _reference(entry["use"], entry["settings"], registry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ArtifactError(
            f"{where}: its tensors are stored as `{entry['use']}`: {first['msg']}",
            hint="install the package that has this storage, in the version that wrote the file",
        ) from error


def _misfits(
    name: str, planned: Mapping[str, StoredTensor], own: Mapping[str, StoredArray]
) -> list[str]:
    """How the parts of a tensor differ from what its storage plans."""
    lines = [] if planned else [f"its storage cannot hold the shape of {name}"]
    for end, right in planned.items():
        if end not in own:
            lines.append(f"missing: {name}{end}")
            continue
        there = own[end].plan
        if there.shape != right.shape:
            lines.append(f"shape of {name}{end}: {there.shape} there, {right.shape} expected")
        elif there.dtype != right.dtype:
            lines.append(f"dtype of {name}{end}: {there.dtype} there, {right.dtype} expected")
    return lines

"""What the pickle of a torch file may name, and what of it is a tensor.

The functions and classes are those of ``torch/_utils.py`` and of ``torch.storage``; none of them is
called. What else real training programs put into their checkpoints is known by its name and
skipped.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

_MAX_DIMENSIONS = 32
_LARGEST = 1 << 48


class PickleError(Exception):
    """The pickle is damaged, or claims something impossible."""


class CodeError(Exception):
    """The pickle names something other than tensors and plain containers.

    Attributes:
        name: what it names.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, eq=False)
class ClaimedStorage:
    """The memory of one or more tensors.

    Attributes:
        key: its name in the file.
        dtype: of its elements, as torch names it.
        count: how many elements it has.
        start: elements of the file's storage before it (a view, in old files).
    """

    key: str
    dtype: str
    count: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class Claim:
    """A tensor as the pickle describes it. Its last element lies inside of its storage.

    Attributes:
        storage: where its numbers are.
        dtype: of its numbers, as torch names it.
        offset: of its first number, in elements.
        shape: its shape.
        stride: elements between neighbours along each dimension.
    """

    storage: ClaimedStorage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Opaque:
    """Something that is not needed for weights: an argument, a random state, a path.

    Attributes:
        what: what it is, with its article.
    """

    what: str


@dataclass(frozen=True)
class Named:
    """Something that the pickle names and that is known."""

    name: str


_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
    "Untyped": "uint8",
}  # fmt: skip
SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of an element, of every dtype that is read."""

_MAPPINGS = {
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
}  # fmt: skip
_UNUSUAL = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor of the meta device, without numbers",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a subclass",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
    "torch.distributed.tensor.DTensor": "a tensor split over several processes",
    "torch.distributed._tensor.api.DTensor": "a tensor split over several processes",
}
# What checkpoints of real training programs hold beside weights. It is skipped, never built.
_DATA = {
    "_codecs.encode", "argparse.Namespace", "builtins.bytearray", "builtins.bytes",
    "builtins.complex", "builtins.float", "builtins.frozenset", "builtins.int", "builtins.list",
    "builtins.set", "builtins.slice", "builtins.str", "builtins.tuple", "builtins.bool",
    "datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.timezone",
    "torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer", "torch.serialization._get_layout", "torch.storage.TypedStorage",
    "torch.strided", "torch.per_tensor_affine", "torch.per_channel_affine",
    "torch.contiguous_format", "torch.preserve_format", "torch.channels_last",
    "types.SimpleNamespace", "typing.Any", "uuid.UUID",
    "numpy.dtype", "numpy.ndarray",
    "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state", "torch._tensor._rebuild_from_type_v2",
}  # fmt: skip
_DATA_CLASS = re.compile(r"(pathlib|pathlib\._local|omegaconf(\.[a-z_]+)*)\.[A-Z]\w*", re.ASCII)


def _dtype(full: str) -> str | None:
    name = full.removeprefix("torch.")
    return name if full.startswith("torch.") and name in SIZES else None


def _is_storage(full: str) -> bool:
    module, _, name = full.rpartition(".")
    return module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage")


def is_known(full: str) -> bool:
    """Whether a name of a pickle is one of tensors, plain containers, or data that is skipped."""
    known = full in _DATA or full in _MAPPINGS or full in _UNUSUAL
    return (
        known
        or _DATA_CLASS.fullmatch(full) is not None
        or _is_storage(full)
        or _dtype(full) is not None
    )


def made(function: str, arguments: tuple[Any, ...]) -> Any:
    """What a call would have given, as far as weights are concerned.

    Args:
        function: the full name of a function or class that :func:`is_known`.
        arguments: what it would be called with.

    Raises:
        PickleError: it would give an impossible tensor.
    """
    if function in _MAPPINGS:
        return _mapping(arguments)
    if function in _UNUSUAL:
        return Opaque(_UNUSUAL[function])
    if function == "torch.Size":
        return tuple(arguments[0])
    if function in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        storage, offset, shape, stride = arguments[:4]
        return _claim(storage, None, offset, shape, stride)
    if function == "torch._utils._rebuild_tensor_v3":
        storage, offset, shape, stride, _, _, dtype = arguments[:7]
        return _claim(storage, dtype, offset, shape, stride)
    if function.startswith("torch._utils._rebuild_parameter"):
        return arguments[0]
    if function == "torch._tensor._rebuild_from_type_v2":
        inner, kind, inner_arguments, _ = arguments
        ordinary = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
        if not isinstance(inner, Named) or not isinstance(kind, Named) or inner.name == function:
            raise PickleError("damaged pickle: a tensor without a type")
        if kind.name not in ordinary:
            return Opaque(f"a tensor of the class {kind.name}")
        return made(inner.name, inner_arguments)
    return Opaque(f"a {function}")


def _mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    given = arguments[0] if arguments else ()
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list):  # the factory of a defaultdict
        return {}
    return {key: value for key, value in given if isinstance(key, (str, int))}


def _claim(storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any) -> Any:
    if isinstance(storage, Opaque):
        return storage
    if not isinstance(storage, ClaimedStorage):
        raise PickleError("a tensor without a storage")
    kind = storage.dtype
    count = storage.count
    if dtype is not None:
        named = _dtype(dtype.name) if isinstance(dtype, Named) else None
        if named is None:
            raise PickleError("a tensor of an unknown dtype")
        count = count * SIZES[kind] // SIZES[named]
        kind = named
    shape, stride = tuple(shape), tuple(stride)
    numbers = (offset, *shape, *stride)
    if any(type(n) is not int or not 0 <= n <= _LARGEST for n in numbers):
        raise PickleError("a tensor whose shape, strides or offset are impossible")
    if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS:
        raise PickleError("a tensor whose shape and strides do not fit each other")
    if math.prod(max(1, n) for n in shape) > _LARGEST:
        raise PickleError("a tensor whose shape is impossible")
    if all(shape):
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if last >= count:
            raise PickleError(
                f"a tensor of shape {list(shape)} that reaches outside of its storage: element"
                f" {last:,} of {count:,}"
            )
    return Claim(storage, kind, offset, shape, stride)


def claimed_storage(identity: tuple[Any, ...]) -> ClaimedStorage | Opaque:
    """The storage that a persistent id of torch names (its first five parts).

    Raises:
        PickleError: it is none.
    """
    tag, kind, key, _, count = identity[:5]
    if tag != "storage" or not isinstance(kind, Named) or not isinstance(key, str):
        raise PickleError("a persistent id that torch does not write")
    if not _is_storage(kind.name):
        raise PickleError(f"a storage of the unknown kind {kind.name}")
    name = kind.name.rpartition(".")[2].removesuffix("Storage")
    if name not in _STORAGES:
        return Opaque("a quantized tensor")
    if type(count) is not int or not 0 <= count <= _LARGEST:
        raise PickleError("a storage of an impossible length")
    return ClaimedStorage(key, _STORAGES[name], count)

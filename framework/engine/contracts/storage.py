"""Storages: how the numbers of one tensor become bytes in the file of weights, and back.

A storage gets float32 numbers and gives named parts, each an array of a dtype that the safetensors
format knows. Everything here works on numpy: ``engine size`` asks a storage for its plan without
PyTorch, and a reader decodes without it. Nothing here imports torch, and only annotations name
numpy.

How a config chooses among storages, tensor by tensor, says its section ``storage``
(``engine.core.config.schema``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from engine.contracts.settings import Settings

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]


class StoredDtype(NamedTuple):
    """A dtype of the safetensors format.

    Attributes:
        name: its name in PyTorch and in the safetensors library.
        carrier: the numpy dtype whose array holds its bits. numpy has no bfloat16 and no float8, so
            an unsigned integer of the same width carries those.
        width: bytes of one number.
    """

    name: str
    carrier: str
    width: int


DTYPES: Mapping[str, StoredDtype] = {
    "U64": StoredDtype("uint64", "uint64", 8),
    "I64": StoredDtype("int64", "int64", 8),
    "F64": StoredDtype("float64", "float64", 8),
    "F32": StoredDtype("float32", "float32", 4),
    "U32": StoredDtype("uint32", "uint32", 4),
    "I32": StoredDtype("int32", "int32", 4),
    "BF16": StoredDtype("bfloat16", "uint16", 2),
    "F16": StoredDtype("float16", "float16", 2),
    "U16": StoredDtype("uint16", "uint16", 2),
    "I16": StoredDtype("int16", "int16", 2),
    "F8_E4M3": StoredDtype("float8_e4m3fn", "uint8", 1),
    "F8_E5M2": StoredDtype("float8_e5m2", "uint8", 1),
    "I8": StoredDtype("int8", "int8", 1),
    "U8": StoredDtype("uint8", "uint8", 1),
    "BOOL": StoredDtype("bool", "bool", 1),
}
"""The dtypes that a storage may use, by their codes in the file. The order is that in which the
safetensors library lays tensors out, the widest alignment first: the prediction of a file's header
depends on it. Source: the enumeration ``Dtype`` of github.com/huggingface/safetensors."""


@dataclass(frozen=True)
class StoredTensor:
    """One part of a stored tensor, before there are numbers.

    Attributes:
        dtype: code of the dtype, a key of ``DTYPES``.
        shape: its shape in the file.
    """

    dtype: str
    shape: Shape

    @property
    def bytes(self) -> int:
        """Bytes of its numbers in the file, the header not counted."""
        return math.prod(self.shape) * DTYPES[self.dtype].width


@dataclass(frozen=True)
class StoredArray:
    """One part of a stored tensor, with its numbers.

    Attributes:
        dtype: code of the dtype, a key of ``DTYPES``.
        array: the numbers, in the numpy dtype that carries this one; any memory layout.
    """

    dtype: str
    array: np.ndarray

    @property
    def plan(self) -> StoredTensor:
        """Dtype and shape alone."""
        return StoredTensor(self.dtype, tuple(self.array.shape))


@dataclass(frozen=True)
class Grid:
    """The levels that a storage has for the numbers of a tensor: ``step`` times whole numbers.

    Each is float32 and broadcasts to [rows, numbers of a row].

    Attributes:
        step: the distance between neighbouring levels; 0 where there is one level only.
        low: the lowest level.
        high: the highest level.
    """

    step: np.ndarray
    low: np.ndarray
    high: np.ndarray


class StorageSettings(Settings):
    """Base of every storage's settings."""

    match: str = Field(
        "*",
        min_length=1,
        max_length=1000,
        description="pattern of the names of the tensors that are stored like this (`*` stands for"
        " any text, `?` for one character); in `storage.rules` only",
    )


class Storage(ABC):
    """How the numbers of one tensor are written and read.

    The parts of a tensor are keyed by what stands behind its name in the file: ``""`` for the
    tensor itself, ``".scale"`` for one that belongs to it. There is always at least one part.

    A storage is a pure function of its settings and of what it is given: the same numbers give the
    same bytes on every machine. It must not import torch.

    Args:
        settings: of the plugin's settings class.
    """

    lossless: ClassVar[bool] = False
    """Whether ``decode`` gives exactly the numbers that ``encode`` got."""

    learned: ClassVar[bool] = False
    """Whether ``encode`` learns from the numbers and takes long: ``engine fit`` then tries it only
    where nothing else meets the limit."""

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings

    @classmethod
    def candidates(cls) -> Sequence[Mapping[str, Any]]:
        """Settings with which ``engine fit`` tries this storage; by default its defaults."""
        return ({},)

    def fits(self, shape: Shape) -> bool:
        """Whether it can hold tensors of this shape; the default can hold all.

        What does not fit is stored as the config's ``storage.keep_as`` says.
        """
        return True

    @abstractmethod
    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """The parts of a tensor of this shape, known before there are numbers.

        Args:
            shape: of the float32 tensor; one that ``fits``.
        """

    @abstractmethod
    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """The parts of a tensor, exactly as ``plan`` says.

        Args:
            array: float32, every number finite, of a shape that ``fits``. It must not be changed.

        Raises:
            WeightsError: it cannot hold a number as large as one of these. The message continues
                the sentence "the storage ...", for example "holds numbers up to 65,504".
        """

    def grid(self, array: np.ndarray) -> Grid | None:
        """The levels that :meth:`encode` chooses for this tensor.

        ``None``: they are not evenly spaced, or not known.

        ``engine fit`` rounds by them with regard to what the tensor is multiplied with. A tensor of
        these levels, in which each number at ``low`` or ``high`` stays there, must be encoded
        exactly.

        Args:
            array: as for ``encode``.
        """
        return None

    @abstractmethod
    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The numbers of a tensor, float32, of its shape; every one is finite.

        Args:
            parts: exactly as ``plan(shape)`` says.
            shape: of the tensor that was encoded.
        """

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Some rows of a tensor, float32 [len(rows), ...]: equal to ``decode(...)[rows]``.

        For a look-up in a large table without decoding all of it. The default decodes all of it.

        Args:
            parts: as for ``decode``.
            shape: of the whole tensor, at least one dimension.
            rows: int64 [N], each at least 0 and below ``shape[0]``.
        """
        found: np.ndarray = self.decode(parts, shape)[rows]
        return found

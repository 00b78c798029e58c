"""Torch files: the zip archives of today's ``torch.save``, and the plain pickles of before 1.6.

Every storage is compared with what the tensors claim of it before a tensor is made. The numbers of
a plainly stored member of a zip archive are mapped into memory; everything else is copied.
"""

from __future__ import annotations

import io
import mmap
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.core.weights.claims import (
    SIZES,
    Claim,
    ClaimedStorage,
    Opaque,
    PickleError,
    claimed_storage,
)
from engine.core.weights.pickles import read_pickle

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_PICKLE = 256 << 20  # bytes: a pickle holds names and shapes, never numbers
_MAX_RATIO = 32  # what deflating saves at most, in sum; real weights lose a tenth
_ALIGNED = 16  # bytes: where torch may read a tensor in place, on every processor


class TorchScriptError(Exception):
    """The archive is a program of TorchScript."""


class NotTorchError(Exception):
    """The archive is whole, but not one that ``torch.save`` wrote.

    Attributes:
        names: some of its members.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass
class TorchFile:
    """A torch file whose pickle has been read; its numbers have not.

    Attributes:
        tree: what was saved: containers with :class:`Claim` in the place of tensors.
        size: bytes of the file.
    """

    tree: Any
    size: int
    _bytes: Callable[[ClaimedStorage], memoryview]
    _big_endian: bool = False
    _storages: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def tensor(self, claim: Claim) -> Tensor:
        """Make a tensor; those of one storage share its memory.

        Raises:
            PickleError: its storage is missing, of another length, or damaged.
        """
        flat = self._flat(claim.storage)
        dtype: torch.dtype = getattr(torch, claim.dtype)
        if flat.dtype != dtype:
            flat = flat.view(dtype)
        offset = claim.offset + claim.storage.start
        return flat.as_strided(claim.shape, claim.stride, offset)

    def _flat(self, storage: ClaimedStorage) -> Tensor:
        place = (storage.key, storage.dtype)
        if place not in self._storages:
            self._storages[place] = self._read(storage)
        return self._storages[place]

    def _read(self, storage: ClaimedStorage) -> Tensor:
        data = self._bytes(storage)
        dtype: torch.dtype = getattr(torch, storage.dtype)
        if not len(data):
            return torch.empty(0, dtype=dtype)
        if storage.dtype == "bool":  # any byte but 0 and 1 would be undefined
            return torch.frombuffer(data, dtype=torch.uint8).ne(0)
        if self._big_endian and SIZES[storage.dtype] > 1:
            data = _swapped(data, storage.dtype)
        return torch.frombuffer(data, dtype=dtype)


def _swapped(data: memoryview, dtype: str) -> memoryview:
    width = SIZES[dtype] // (2 if dtype.startswith("complex") else 1)
    swapped = bytearray(len(data))
    for place in range(width):
        swapped[place::width] = data[width - 1 - place :: width]
    return memoryview(swapped)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        # A private copy: torch wants memory that may be written, and the file stays as it is.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _owned(data: memoryview) -> memoryview:
    return memoryview(bytearray(data))


# --- zip archives ---------------------------------------------------------------------------------


def read_archive(path: Path) -> TorchFile:
    """Open a zip archive of ``torch.save``.

    Raises:
        TorchScriptError: it is a program.
        NotTorchError: another program wrote it.
        CodeError, PickleError: see :func:`engine.core.weights.pickles.read_pickle`.
        Exception: what the standard library raises on damaged archives.
    """
    archive = _Archive(path)
    text = archive.small("data.pkl", _MAX_PICKLE)
    order = archive.small("byteorder", 16) if archive.has("byteorder") else b"little"
    if order not in (b"little", b"big"):
        raise PickleError(f"its byte order is {order!r}")
    tree = read_pickle(io.BytesIO(text), _zip_storage)
    return TorchFile(tree, archive.size, archive.storage, order == b"big")


def _zip_storage(identity: tuple[Any, ...]) -> ClaimedStorage | Opaque:
    if len(identity) != 5:
        raise PickleError("a persistent id that torch does not write")
    return claimed_storage(identity)


class _Archive:
    """The members of one archive, checked."""

    def __init__(self, path: Path) -> None:
        self._map = _mapped(path)
        self.size = len(self._map)
        self._view = memoryview(self._map)
        self._zip = zipfile.ZipFile(path)
        members = self._zip.infolist()
        self._root = _root([member.filename for member in members])
        self._members = _by_name(members, self._root)
        # torch writes no checksums where `set_crc32_options(False)` was called: 0 for each.
        self._checked = any(member.CRC for member in members)
        self._unpacked = 0
        _check_places(members, self.size)

    def has(self, name: str) -> bool:
        return self._root + name in self._members

    def small(self, name: str, maximum: int) -> bytes:
        """A member that is not numbers, at most ``maximum`` bytes."""
        member = self._member(name)
        if member.file_size > maximum:
            raise PickleError(f"its member {name} has {member.file_size:,} bytes")
        return bytes(self._content(member))

    def storage(self, storage: ClaimedStorage) -> memoryview:
        """The bytes of a storage, as many as the pickle claims."""
        member = self._member(f"data/{storage.key}")
        claimed = storage.count * SIZES[storage.dtype]
        if member.file_size != claimed:
            raise PickleError(
                f"its storage {storage.key} has {member.file_size:,} bytes, and its tensors claim"
                f" {claimed:,}"
            )
        return self._content(member)

    def _member(self, name: str) -> zipfile.ZipInfo:
        if not self.has(name):
            raise PickleError(f"its member {name} is missing")
        return self._members[self._root + name]

    def _content(self, member: zipfile.ZipInfo) -> memoryview:
        if member.compress_type == zipfile.ZIP_STORED:
            start = self._start(member)
            data = self._view[start : start + member.file_size]
            if member.compress_size != member.file_size or len(data) != member.file_size:
                raise PickleError(f"its member {member.filename} is cut short")
            aligned = start % _ALIGNED == 0
            content = data if aligned else _owned(data)
        elif member.compress_type == zipfile.ZIP_DEFLATED:
            content = self._inflated(member)
        else:
            raise PickleError(f"its member {member.filename} is compressed in an unusual way")
        if self._checked and zlib.crc32(content) != member.CRC:
            raise PickleError(f"the checksum of its member {member.filename} is wrong")
        return content

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: behind its own header, whose length only it tells."""
        if member.flag_bits & 0x1:
            raise PickleError(f"its member {member.filename} is encrypted")
        place = member.header_offset
        header = bytes(self._view[place : place + 30])
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise PickleError(f"its member {member.filename} is not where the archive says")
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        return place + 30 + sum(lengths)

    def _inflated(self, member: zipfile.ZipInfo) -> memoryview:
        self._unpacked += member.file_size
        if self._unpacked > _MAX_RATIO * self.size + (1 << 20):
            raise PickleError(
                f"its members unpack to more than {_MAX_RATIO} times the size of the file"
            )
        start = self._start(member)
        packed = self._view[start : start + member.compress_size]
        inflater = zlib.decompressobj(-15)
        data = inflater.decompress(packed, member.file_size + 1)
        if len(data) != member.file_size or not inflater.eof:
            raise PickleError(f"its member {member.filename} does not unpack to its own length")
        return memoryview(bytearray(data))


def _root(names: list[str]) -> str:
    """The folder in the archive that holds everything, as torch calls it: ``archive/``."""
    roots = {name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")}
    roots = {root for root in roots if root.count("/") == 1}
    if any(name.endswith("/constants.pkl") for name in names):
        raise TorchScriptError
    if len(roots) != 1:
        raise NotTorchError(names[:3])
    return roots.pop()


def _by_name(members: list[zipfile.ZipInfo], root: str) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        if member.filename in found:
            raise PickleError(f"it holds {member.filename} twice")
        if member.filename.startswith(root):
            found[member.filename] = member
    return found


def _check_places(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse members that share bytes, or that reach beyond the file."""
    ordered = sorted(members, key=lambda member: member.header_offset)
    ends = [member.header_offset + 30 + member.compress_size for member in ordered]
    if any(end > size for end in ends):
        raise PickleError("a member of the archive reaches beyond the end of the file")
    if any(
        end > after.header_offset for end, (_, after) in zip(ends, pairwise(ordered), strict=False)
    ):
        raise PickleError("two members of the archive share bytes")


# --- before version 1.6 ---------------------------------------------------------------------------


def read_legacy(path: Path) -> TorchFile:
    """Open a file of ``torch.save`` before version 1.6: five pickles, then the storages.

    Raises:
        NotTorchError: it is a pickle of another program.
        CodeError, PickleError: see :func:`engine.core.weights.pickles.read_pickle`.
    """
    data = _mapped(path)
    storages: dict[str, ClaimedStorage] = {}

    def storage(identity: tuple[Any, ...]) -> ClaimedStorage | Opaque:
        found = claimed_storage(identity)
        if isinstance(found, Opaque):
            return found
        known = storages.setdefault(found.key, found)
        if (known.dtype, known.count) != (found.dtype, found.count):
            raise PickleError(f"its storage {found.key} is claimed with two lengths")
        return known if len(identity) < 6 or identity[5] is None else _view(known, identity[5])

    if read_pickle(data) != _MAGIC:
        raise NotTorchError([])
    if read_pickle(data) != _PROTOCOL:
        raise PickleError("a version of the format that torch never wrote")
    read_pickle(data)  # the machine that wrote it: storages are little endian on all of them
    tree = read_pickle(data, storage)
    places = _places(data, storages)

    def content(wanted: ClaimedStorage) -> memoryview:
        if wanted.key not in places:
            raise PickleError(f"its storage {wanted.key} is missing")
        start, end = places[wanted.key]
        return _owned(memoryview(data)[start:end])

    return TorchFile(tree, len(data), content)


def _view(storage: ClaimedStorage, view: Any) -> ClaimedStorage:
    """A slice of a storage, as files of before version 0.4 name them."""
    _, offset, count = view
    if any(type(n) is not int or n < 0 for n in (offset, count)) or offset + count > storage.count:
        raise PickleError("a view that reaches outside of its storage")
    return ClaimedStorage(storage.key, storage.dtype, count, offset)


def _places(data: mmap.mmap, storages: dict[str, ClaimedStorage]) -> dict[str, tuple[int, int]]:
    """Start and end of each storage's bytes. Each stands behind its number of elements."""
    keys = read_pickle(data)
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in keys):
        raise PickleError("damaged: the list of its storages is none")
    places: dict[str, tuple[int, int]] = {}
    at = data.tell()
    for key in keys:
        if key not in storages or key in places:
            raise PickleError("a storage that no tensor has, or that comes twice")
        count = int.from_bytes(data[at : at + 8], "little", signed=True)
        end = at + 8 + storages[key].count * SIZES[storages[key].dtype]
        if count != storages[key].count or end > len(data):
            raise PickleError(
                f"its storage {key} is cut short, or not as long as its tensors claim"
            )
        places[key] = (at + 8, end)
        at = end
    return places

"""Where the images of tar shards lie: a click log as ``engine data download`` packs it.

Beside each ``<number>.tar`` stands ``<number>.parquet`` with the columns ``id``, ``offset`` and
``bytes``, so an image costs one seek. A row costs 16 bytes of memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from engine.core.regular_file import open_regular
from engine.data.pictures import decode
from engine.data.shards import read_table
from engine.errors import BrokenImageError, DataError

_NONE = np.zeros(0, np.int64)
_MISSING = np.uint32(0xFFFFFFFF)


def digests(ids: Iterable[str]) -> NDArray[np.uint64]:
    """128 bits of each id, (n, 2); equal only where the ids are."""
    joined = b"".join(hashlib.blake2b(id_.encode(), digest_size=16).digest() for id_ in ids)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


class Shards:
    """The images of some rows, found in a folder of shards.

    Args:
        folder: with the tars and their tables.
        ids: of the rows, in order.

    Raises:
        DataError: there is no shard, a table cannot be read, or an image stands twice.
    """

    def __init__(self, folder: Path, ids: Iterable[str]) -> None:
        tables = _tables(folder)
        self._tars = [table.with_suffix(".tar") for table in tables]
        found = [_read_table(table, number) for number, table in enumerate(tables)]
        keys, shards, offsets, sizes = (np.concatenate(some) for some in zip(*found, strict=True))
        _check_once(keys, shards, self._tars)
        order = np.argsort(keys[:, 0], kind="stable")
        wanted = digests(ids)
        rows = _look_up(keys[order], wanted)
        there = rows >= 0
        places = order[rows[there]]
        self._shards = np.full(len(wanted), _MISSING, np.uint32)
        self._offsets = np.zeros(len(wanted), np.uint64)
        self._sizes = np.zeros(len(wanted), np.uint32)
        self._shards[there] = shards[places]
        self._offsets[there] = offsets[places]
        self._sizes[there] = sizes[places]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Where each row's image lies, for :meth:`of`."""
        return {"shard": self._shards, "offset": self._offsets, "size": self._sizes}

    @classmethod
    def of(cls, folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Shards:
        """The shards of a folder whose tables were read before."""
        made = cls.__new__(cls)
        made._tars = [table.with_suffix(".tar") for table in _tables(folder)]
        made._shards, made._offsets, made._sizes = (
            arrays[name] for name in ("shard", "offset", "size")
        )
        return made

    def image(self, row: int, id_: str) -> Image:
        """Decode a row's image.

        Raises:
            BrokenImageError: it is in no shard, or does not decode.
        """
        if self._shards[row] == _MISSING:
            raise BrokenImageError(
                f"image {id_} is in no shard of {self._tars[0].parent}", reason="in no shard"
            )
        tar = self._tars[int(self._shards[row])]
        try:
            with open_regular(tar) as file:
                file.seek(int(self._offsets[row]))
                data = file.read(int(self._sizes[row]))
            if len(data) < self._sizes[row]:
                raise BrokenImageError("the tar ends before it does")
            return decode(data).image
        except BrokenImageError as error:
            raise BrokenImageError(f"image {id_} in {tar}: {error.reason}", reason=error.reason)  # noqa: B904
        except OSError as error:
            raise BrokenImageError(f"image {id_}: {tar} cannot be read: {error}") from error


def _tables(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise DataError(f"{folder} holds no shard: no .parquet table lies in it")
    return found


def _look_up(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The row of each wanted key among keys sorted by their first half, or -1."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    rows = np.searchsorted(keys[:, 0], wanted[:, 0]).astype(np.int64)
    rows[rows == len(keys)] = 0
    same = (keys[rows] == wanted).all(axis=1)
    # Two ids may share the first half: then the right one comes a little later.
    for i in np.flatnonzero(~same & (keys[rows, 0] == wanted[:, 0])):
        row = rows[i]
        while row + 1 < len(keys) and keys[row + 1, 0] == wanted[i, 0]:
            row += 1
            if keys[row, 1] == wanted[i, 1]:
                rows[i], same[i] = row, True
                break
    rows[~same] = -1
    return rows


def _read_table(path: Path, number: int) -> tuple[NDArray[Any], ...]:
    keys, offsets, sizes = [np.zeros((0, 2), np.uint64)], [_NONE], [_NONE]
    for rows in read_table(path, digests=False):
        keys.append(digests(rows.ids))
        offsets.append(rows.offsets)
        sizes.append(rows.sizes)
    joined = np.concatenate(keys)
    shards = np.full(len(joined), number, np.uint32)
    return joined, shards, np.concatenate(offsets), np.concatenate(sizes)


def _check_once(keys: NDArray[np.uint64], shards: NDArray[np.uint32], tars: list[Path]) -> None:
    """Refuse an id that stands twice: which picture is meant is not known.

    Raises:
        DataError: names the shards.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    for place in np.flatnonzero(same)[:1]:
        one, other = (tars[int(shards[order[place + step]])] for step in (0, 1))
        where = f"twice in {one.name}" if one == other else f"in {one.name} and in {other.name}"
        raise DataError(
            f"shards of {one.parent}: an image stands {where} ({int(same.sum()):,} such images)",
            hint="`engine data verify` looks at every shard",
        )

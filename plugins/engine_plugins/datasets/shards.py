"""Shards of pictures with texts, read where they lie: WebDataset tars and parquet, through fsspec.

Rows are in the order of the files' names. Each costs about 50 bytes of index, which
``engine data prepare`` keeps. With the sampler ``windowed`` shards are read from their beginning to
their end, some at once.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine.data.pictures import Decoded, decode
from engine.data.pictures.resize import shorter_side_to
from engine.data.shards.blocks import Blocks
from engine.data.shards.columns import ParquetShards
from engine.data.shards.samples import FIELDS, TEXTS, parse_texts, read_samples
from engine.data.store_folder import StoredFile, StoreFolder
from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets.settings import ShardsSettings

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_NUMBERS = ("offset", "size", "text_offset", "text_size", "text_kind")


class TarShards:
    """The samples of tars, one after the other; as :class:`ParquetShards` is for tables."""

    def __init__(
        self, blocks: Blocks, files: Sequence[StoredFile], texts: Sequence[str],
        fields: Sequence[str], index: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:  # fmt: skip
        self._blocks, self._files = blocks, list(files)
        self._kinds, self._fields = tuple(texts), tuple(fields)
        self._index = dict(index) if index is not None else self._read()

    def _read(self) -> dict[str, NDArray[Any]]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(
                pool.map(lambda file: read_samples(self._blocks, file, self._kinds), self._files)
            )
        counts = [len(each["offset"]) for each in found]
        bytes_before = np.cumsum([0, *(len(each["keys"]) for each in found)])[:-1]
        joined = {name: np.concatenate([each[name] for each in found]) for name in _NUMBERS}
        ends = [
            each["key_ends"] + np.uint64(n) for each, n in zip(found, bytes_before, strict=True)
        ]
        return {
            **joined,
            "keys": np.concatenate([each["keys"] for each in found]),
            "key_starts": np.concatenate([np.zeros(1, np.uint64), *ends]),
            "shard_starts": np.cumsum([0, *counts]).astype(np.int64),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Where pictures, texts and keys are."""
        return self._index

    @property
    def starts(self) -> NDArray[np.int64]:
        """[files + 1], where each file's rows begin."""
        found: NDArray[np.int64] = self._index["shard_starts"]
        return found

    def key(self, row: int) -> str:
        """The key of a sample."""
        starts = self._index["key_starts"]
        return bytes(self._index["keys"][int(starts[row]) : int(starts[row + 1])]).decode()

    def texts(self, row: int) -> tuple[str, ...]:
        """The texts of a sample."""
        size = int(self._index["text_size"][row])
        data = self._part(row, "text_offset", size)
        kind = self._kinds[int(self._index["text_kind"][row])]
        return parse_texts(data, kind, self._fields) if size else ()

    def picture(self, row: int) -> bytes:
        """The picture file of a sample."""
        return self._part(row, "offset", int(self._index["size"][row]))

    def _part(self, row: int, name: str, size: int) -> bytes:
        shard = int(np.searchsorted(self.starts, row, "right")) - 1
        return self._blocks.read(self._files[shard].name, int(self._index[name][row]), size)


class Shards(Dataset):
    """See :class:`ShardsSettings`.

    Raises:
        DataError: there is no shard, or one is damaged.
    """

    def __init__(
        self, settings: ShardsSettings, index: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self.settings = settings
        self.folder, self._files = _files(settings)
        self.name = self.folder.url.rstrip("/").rsplit("/", 1)[-1] or "shards"
        blocks = Blocks(self.folder)
        own = None if index is None else {k: v for k, v in index.items() if k != "qualified"}
        fields = FIELDS if settings.texts is None else (settings.texts,)
        self._rows: TarShards | ParquetShards
        if self._files[0].name.endswith(".parquet"):
            self._rows = ParquetShards(blocks, self._files, settings.image, fields, own)
        else:
            self._rows = TarShards(blocks, self._files, settings.members or TEXTS, fields, own)
        self._starts = self._rows.starts
        self._qualified = _qualified(self) if index is None else bool(index["qualified"][0])

    @classmethod
    def fingerprint(cls, settings: ShardsSettings) -> str | None:
        """The names, sizes and versions of the files, as their store has them."""
        _, files = _files(settings)
        whole = hashlib.sha256()
        for file in files:
            whole.update(f"{file.name}\0{file.size}\0{file.version}\n".encode())
        return whole.hexdigest()

    def index(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of the index, as they are stored."""
        return {**self._rows.arrays(), "qualified": np.array([self._qualified])}

    @classmethod
    def from_index(cls, settings: ShardsSettings, index: Mapping[str, NDArray[Any]]) -> Shards:
        """The data set of an index that was stored."""
        return cls(settings, index)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def shards(self) -> NDArray[np.int64]:
        """The first row of each shard, [S] int64."""
        return self._starts

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        self._check(index)
        try:
            texts = self._rows.texts(index)
        except ValueError as error:
            where = self._where(index)
            raise DataError(
                f"{where}: the texts of `{self._id(index)}` cannot be read: {error}"
            ) from error
        language = self.settings.language
        return Record(
            self._id(index), texts, languages=(language,) * len(texts) if language else ()
        )

    def image(self, index: int) -> Image:
        """The picture of a row."""
        return self._decoded(index, None).image

    def image_for(self, index: int, side: int) -> Image:
        """The picture of a row, of which a square of ``side`` pixels will be cut."""
        factor = self.settings.draft
        if factor is None:
            return self.image(index)
        found = self._decoded(index, math.ceil(factor * side))
        return shorter_side_to(found.image, side, (found.width, found.height))

    def _decoded(self, index: int, at_least: int | None) -> Decoded:
        self._check(index)
        try:
            return decode(self._rows.picture(index), at_least=at_least)
        except BrokenImageError as error:
            where = f"image {self._id(index)} in {self._where(index)}"
            raise BrokenImageError(f"{where}: {error.reason}", reason=error.reason) from error

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(index)

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, "right")) - 1

    def _where(self, index: int) -> str:
        return f"{self.folder.url}/{self._files[self._shard(index)].name}"

    def _id(self, index: int) -> str:
        key = self._rows.key(index)
        shard = self._shard(index)
        row = index - int(self._starts[shard])
        if key is None:
            return f"{self._files[shard].name}/{row}"
        return f"{self._files[shard].name}/{row}/{key}" if self._qualified else key


def _qualified(data: Shards) -> bool:
    """Whether ids need the shard and the row, because two rows have one key."""
    rows = data._rows
    seen = np.empty(len(data), np.uint64)
    for row in range(len(data)):
        key = rows.key(row)
        if key is None:
            return False
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        seen[row] = int.from_bytes(digest, "little")
    seen.sort()
    found = bool((seen[1:] == seen[:-1]).any())
    if found:
        _log.warning("%s: keys come twice, so ids begin with the shard and the row", data.name)
    return found


def _files(settings: ShardsSettings) -> tuple[StoreFolder, list[StoredFile]]:
    """The folder, and the shards of it: those that the pattern names, else all tars or tables.

    Raises:
        DataError: there are none.
    """
    folder, pattern = _split(str(settings.path))
    place = StoreFolder(folder)
    there = [file for file in place.files() if not file.name.startswith((".", "_"))]
    for suffix in (".tar", ".parquet"):
        found = [
            file
            for file in there
            if file.name.endswith(suffix) and (pattern is None or fnmatch.fnmatchcase(
                file.name, pattern))
        ]  # fmt: skip
        if found:
            return place, found
    raise DataError(
        f"{settings.path}: there is no shard, neither a .tar nor a .parquet",
        hint="`path` is a folder or a URL of one, its last part may be a pattern: train-*.tar",
    )


def _split(path: str) -> tuple[str, str | None]:
    """A folder, and the pattern that its last part is."""
    head, slash, last = path.rstrip("/").rpartition("/")
    if any(letter in last for letter in "*?[") or last.endswith((".tar", ".parquet")):
        return (head if slash else "."), last
    return path, None

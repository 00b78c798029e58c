"""Vectors of a tower with texts, instead of images.

They were computed once, here or elsewhere; training then needs neither images nor the tower's time.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts import ActivationPoint, Dataset, Record
from engine.data.store_folder import StoreFolder
from engine.errors import DataError
from engine_plugins.datasets.settings import ActivationsSettings

_KEY = "engine"
"""In the file's metadata: JSON with ``point``, ``fingerprint`` and, for safetensors, ``texts``."""

_SHARD = re.compile(r"[0-9]{5}-of-[0-9]{5}\.parquet")
"""The name of a shard of ``engine embed``."""


class Activations(Dataset):
    """See :class:`ActivationsSettings`.

    A parquet file has a column of vectors (lists of numbers) and one of texts (a text, or a list of
    them); a safetensors file has the tensor ``vectors`` [N, width], and its texts in a file of JSON
    lines beside it. Both say in their metadata, under ``engine``, of which tower and which of its
    outputs the vectors are, unless the settings do.

    Raises:
        DataError: a file is missing or damaged, rows and texts differ in number, nothing says which
            tower the vectors are of, or a number is not finite.
    """

    has_images = False

    def __init__(self, settings: ActivationsSettings) -> None:
        self.settings = settings
        self.name = str(settings.path).rstrip("/").rsplit("/", 1)[-1].partition(".")[0] or "vectors"
        self._ids: list[str] | None = None
        try:
            if isinstance(settings.path, str) or settings.path.is_dir():
                self._vectors, self._texts, about, self._ids = _shards(settings)
            elif settings.path.suffix == ".parquet":
                self._vectors, self._texts, about = _parquet(settings, settings.path)
            else:
                self._vectors, self._texts, about = _safetensors(settings, settings.path)
        except DataError:
            raise
        except Exception as error:  # the libraries raise many kinds on damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{settings.path} cannot be read: {reason[:200]}") from error
        if self._vectors.ndim != 2 or len(self._vectors) != len(self._texts):
            raise DataError(
                f"{settings.path}: {len(self._texts):,} rows of texts for vectors of the shape"
                f" {list(self._vectors.shape)}"
            )
        if not np.isfinite(self._vectors).all():
            row = int(np.flatnonzero(~np.isfinite(self._vectors).all(axis=1))[0])
            raise DataError(f"{settings.path}: the vector of row {row:,} is not finite")
        fingerprint = settings.fingerprint or str(about.get("fingerprint", ""))
        if not fingerprint:
            raise DataError(
                f"{settings.path} does not say which tower its vectors are of",
                hint='put {"engine": \'{"point": "pooled", "fingerprint": "..."}\'} into'
                " its metadata (engine.core.fingerprint.tower_fingerprint gives it), or set"
                " `fingerprint`",
            )
        point = settings.point or str(about.get("point", "pooled"))
        self.activations = ActivationPoint(self._vectors.shape[1], fingerprint, point)

    def __len__(self) -> int:
        return len(self._texts)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        texts = self._texts[self._checked(index)]
        language = self.settings.language
        id_ = str(index) if self._ids is None else self._ids[index]
        return Record(id_, texts, languages=(language,) * len(texts) if language else ())

    def activation(self, index: int) -> NDArray[np.float32]:
        """The vector of a row, [W] float32."""
        row: NDArray[np.float32] = self._vectors[self._checked(index)]
        return row

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self._texts):
            raise IndexError(index)
        return index


Read = tuple[NDArray[np.float32], list[tuple[str, ...]], dict[str, Any]]


def _parquet(settings: ActivationsSettings, source: Any) -> Read:
    from pyarrow import parquet

    table = parquet.read_table(source, columns=[settings.vectors, settings.texts])
    texts = [_texts(value) for value in table.column(settings.texts).to_pylist()]
    metadata = table.schema.metadata or {}
    about = _about(metadata.get(_KEY.encode(), b"{}").decode("utf-8"))
    return _rows(table.column(settings.vectors)), texts, about


def _rows(column: Any) -> NDArray[np.float32]:
    """[N, width] of a column of lists of one length."""
    if not len(column):
        return np.zeros((0, 0), np.float32)
    joined = column.combine_chunks()
    if column.null_count == 0 and hasattr(joined.type, "list_size"):
        flat: NDArray[np.float32] = joined.flatten().to_numpy().astype(np.float32, copy=False)
        return flat.reshape(len(column), -1)
    return np.asarray(column.to_pylist(), dtype=np.float32)


def _shards(
    settings: ActivationsSettings,
) -> tuple[NDArray[np.float32], list[tuple[str, ...]], dict[str, Any], list[str]]:
    """What `engine embed` wrote: every shard, in order.

    Raises:
        DataError: a shard is missing, or two are of different towers.
    """
    from pyarrow import parquet

    place = StoreFolder(settings.path)
    names = sorted(name for name in place.names() if _SHARD.fullmatch(name))
    if not names:
        raise DataError(f"{place.url} holds no shard", hint="`engine embed` writes them")
    count = int(names[0][-13:-8])
    missing = [n for n in range(count) if f"{n:05d}-of-{count:05d}.parquet" not in names]
    if missing or len(names) != count:
        raise DataError(
            f"{place.url} holds {len(names)} shards, and {count} belong together"
            + (f": shard {missing[0]} is missing" if missing else ""),
            hint="`engine embed` with the arguments that began it goes on",
        )
    vectors: list[NDArray[np.float32]] = []
    texts: list[tuple[str, ...]] = []
    ids: list[str] = []
    about: dict[str, Any] = {}
    for name in names:
        data = place.read(name)
        own, own_texts, said = _parquet(settings, io.BytesIO(data))
        said = {key: value for key, value in said.items() if key != "rows"}
        if about and said != about:
            raise DataError(f"{place.url}/{name} is of another model than the shards before it")
        about = said
        if len(own):
            vectors.append(own)
        texts += own_texts
        ids += parquet.read_table(io.BytesIO(data), columns=["id"]).column("id").to_pylist()
    if not vectors:
        raise DataError(f"{place.url} holds no vector")
    return np.concatenate(vectors), texts, about, ids


def _safetensors(settings: ActivationsSettings, path: Path) -> Read:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        vectors = np.asarray(file.get_tensor(settings.vectors), dtype=np.float32)
        about = _about((file.metadata() or {}).get(_KEY, "{}"))
    beside = path.with_suffix(".jsonl")
    try:
        lines = beside.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{beside} cannot be read: {error}",
            hint="the texts of a safetensors file stand beside it, a line of JSON a row",
        ) from error
    return vectors, [_texts(json.loads(line)) for line in lines if line.strip()], about


def _texts(value: Any) -> tuple[str, ...]:
    """A text, a list of texts, or an object with ``queries``."""
    if isinstance(value, dict):
        value = value.get("queries", value.get("texts"))
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"a row's texts are {type(value).__name__}; expected a text or a list")
    return tuple(texts)


def _about(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise DataError(f"the metadata `{_KEY}` is not a JSON object")
    return value

"""Vectors of a tower with texts, instead of images.

They were computed once, here or elsewhere; training then needs neither images nor the tower's time.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts import ActivationPoint, Dataset, Record
from engine.errors import DataError
from engine_plugins.datasets.settings import ActivationsSettings

_KEY = "engine"
"""In the file's metadata: JSON with ``point``, ``fingerprint`` and, for safetensors, ``texts``."""


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
        self.name = settings.path.stem
        read = _parquet if settings.path.suffix == ".parquet" else _safetensors
        try:
            self._vectors, self._texts, about = read(settings)
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
        texts = self._texts[self._checked(index)]
        language = self.settings.language
        return Record(str(index), texts, languages=(language,) * len(texts) if language else ())

    def activation(self, index: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._vectors[self._checked(index)]
        return row

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self._texts):
            raise IndexError(index)
        return index


Read = tuple[NDArray[np.float32], list[tuple[str, ...]], dict[str, Any]]


def _parquet(settings: ActivationsSettings) -> Read:
    from pyarrow import parquet

    table = parquet.read_table(settings.path, columns=[settings.vectors, settings.texts])
    rows = table.column(settings.vectors).to_pylist()
    vectors = np.asarray(rows, dtype=np.float32)
    texts = [_texts(value) for value in table.column(settings.texts).to_pylist()]
    metadata = table.schema.metadata or {}
    return vectors, texts, _about(metadata.get(_KEY.encode(), b"{}").decode("utf-8"))


def _safetensors(settings: ActivationsSettings) -> Read:
    from safetensors import safe_open

    with safe_open(settings.path, framework="np") as file:
        vectors = np.asarray(file.get_tensor(settings.vectors), dtype=np.float32)
        about = _about((file.metadata() or {}).get(_KEY, "{}"))
    beside = settings.path.with_suffix(".jsonl")
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

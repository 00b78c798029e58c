"""Activations of any data as files: what a vision tower gives, shard by shard.

A shard is a parquet file of consecutive rows. Its name says which of how many it is, its metadata
what it follows from, so a shard that is there is not computed again, and nothing stale is taken
for it. The dataset of activations reads the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from engine.contracts.dataset import Dataset, Record
from engine.contracts.projection import project_state
from engine.core.fingerprint import tower_fingerprint
from engine.core.progress import Progress, silent
from engine.data.store_folder import StoreFolder
from engine.errors import DataError
from engine.evaluate.images import read_batches
from engine.evaluate.predictor import Predictor

ROWS = 10_000
"""Rows of a shard, unless it is said."""

Point = Literal["pooled", "embedding"]


@dataclass
class Embedded:
    """What was done.

    Attributes:
        shards: of the data set.
        skipped: of them, those that were there.
        rows: that have a vector in the shards that were computed now.
        broken: pictures that could not be read: the reason by the row's id.
    """

    shards: int
    skipped: int = 0
    rows: int = 0
    broken: dict[str, str] = field(default_factory=dict)


def embed(
    predictor: Predictor,
    dataset: Dataset,
    place: StoreFolder,
    *,
    point: Point = "pooled",
    rows: int = ROWS,
    batch_size: int = 32,
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Embedded:
    """Write the activations of a data set.

    Args:
        predictor: the model, on the device where it computes.
        dataset: with images.
        place: where shards are written, ``00000-of-00012.parquet`` and so on.
        point: ``pooled``: the tower's output, which training reads; ``embedding``: the vector of
            the joint space, not normalised.
        rows: of a shard.
        batch_size: pictures that run through the tower at once.
        workers: threads that read pictures.
        force: replace shards of another model or of other data.
        progress: receives how many shards are done.

    Raises:
        DataError: the data have no images, or a shard of something else is there.
    """
    if not dataset.has_images or dataset.activations is not None:
        raise DataError(f"data set `{dataset.name}` has no images to embed")
    ranges = [
        range(start, min(start + rows, len(dataset))) for start in range(0, len(dataset), rows)
    ]
    about = {"point": point, "fingerprint": tower_fingerprint(predictor.model.vision)}
    if point == "embedding":
        about["projection"] = tower_fingerprint(predictor.model.vision_projection)  # type: ignore[arg-type]
    done, there = Embedded(len(ranges)), place.names()
    stale = sorted(name for name in there if name.endswith(".parquet")
                   and not name.endswith(f"-of-{len(ranges):05d}.parquet"))  # fmt: skip
    if stale and not force:
        raise _other(place, stale[0])
    for number, own in enumerate(ranges):
        progress("shards", number, len(ranges))
        name = f"{number:05d}-of-{len(ranges):05d}.parquet"
        records = [dataset.record(index) for index in own]
        source = {**about, "rows": _digest(records), "preprocess": _preparation(predictor)}
        if name in there:
            there_from = _source_of(place, name)
            if there_from == source:
                done.skipped += 1
                continue
            if there_from is not None and not force:  # a damaged one is computed again
                raise _other(place, name)
        some = _Some(dataset, own)
        found = list(_vectors(predictor, some, point, batch_size, workers, done.broken))
        done.rows += len(found)
        place.write(name, _to_parquet(found, source))
    progress("shards", len(ranges), len(ranges))
    return done


def _other(place: StoreFolder, name: str) -> DataError:
    return DataError(
        f"{place.url}/{name} holds activations of another model or of other data",
        hint="choose another folder, or `--force` to replace them",
    )


class _Some:
    """Some rows of a data set, numbered from 0."""

    def __init__(self, dataset: Dataset, rows: range) -> None:
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        return self._dataset.record(self._rows[index])

    def image(self, index: int) -> Any:
        return self._dataset.image(self._rows[index])


def _vectors(
    predictor: Predictor,
    rows: _Some,
    point: Point,
    batch_size: int,
    workers: int | None,
    broken: dict[str, str],
) -> Iterator[tuple[Record, np.ndarray[Any, np.dtype[np.float32]]]]:
    model = predictor.model
    batches = read_batches(rows, model.vision.preprocess, batch_size=batch_size, workers=workers)
    for batch in batches:
        broken |= {each.id: each.reason for each in batch.broken}
        if not batch.read:
            continue
        with torch.inference_mode():
            state = predictor.vision_state([each.pixels for each in batch.read])
            if point == "embedding":
                state = project_state(model.vision_projection, state)
            vectors = state[point].float().cpu().numpy()
        for each, vector in zip(batch.read, vectors, strict=True):
            if not np.isfinite(vector).all():
                raise DataError(f"the vector of image `{each.record.id}` is not finite")
            yield each.record, vector


def _digest(records: list[Record]) -> str:
    """Names rows by their ids and texts; pictures are taken to be those of their ids."""
    whole = hashlib.sha256()
    for record in records:
        text = json.dumps([record.id, record.queries, record.label])
        whole.update(text.encode("utf-8", "surrogatepass"))
    return whole.hexdigest()[:32]


def _preparation(predictor: Predictor) -> str:
    about = repr(predictor.model.vision.preprocess.identity())
    return hashlib.sha256(about.encode()).hexdigest()[:32]


def _to_parquet(rows: list[Any], source: dict[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    width = len(rows[0][1]) if rows else 1
    flat = np.concatenate([vector for _, vector in rows]) if rows else np.zeros(0, np.float32)
    table = pa.table(
        {
            "id": pa.array([record.id for record, _ in rows], pa.string()),
            "vectors": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), width),
            "texts": pa.array([list(record.queries) for record, _ in rows], pa.list_(pa.string())),
        }
    )
    file = io.BytesIO()
    whole = table.replace_schema_metadata({"engine": json.dumps(source, sort_keys=True)})
    parquet.write_table(whole, file, compression="zstd")
    return file.getvalue()


def _source_of(place: StoreFolder, name: str) -> dict[str, Any] | None:
    """What a shard says that it follows from; ``None`` where it is not whole."""
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(io.BytesIO(place.read(name))).metadata or {}
        found = json.loads(metadata[b"engine"])
    except DataError:
        raise
    except Exception:  # pyarrow has errors of many kinds for damaged files
        return None
    return found if isinstance(found, dict) else None

"""Vectors with texts, instead of images: read as they are, or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from engine.errors import DataError
from engine_plugins.datasets.activations import Activations
from engine_plugins.datasets.settings import ActivationsSettings

ABOUT = json.dumps({"point": "pooled", "fingerprint": "a" * 32})
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
TEXTS: list[Any] = ["кошка", ["ракета", "rocket"], ["чашка"]]


def write(
    folder: Path, kind: str, vectors: Any = VECTORS, texts: list[Any] = TEXTS, about: str = ABOUT
) -> Path:
    path = folder / f"x.{kind}"
    if kind == "parquet":
        columns = {
            "vectors": list(vectors),
            "texts": [t if isinstance(t, list) else [t] for t in texts],
        }
        table = pyarrow.table(columns).replace_schema_metadata({"engine": about})
        parquet.write_table(table, path)
    else:
        save_file({"vectors": vectors}, path, {"engine": about})
        lines = "\n".join(json.dumps(text) for text in texts)
        path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["parquet", "safetensors"])
def test_vectors_and_texts(tmp_path: Path, kind: str) -> None:
    dataset = Activations(ActivationsSettings(path=write(tmp_path, kind), language="ru"))
    assert len(dataset) == 3
    assert dataset.record(1).queries == ("ракета", "rocket")
    assert dataset.record(1).languages == ("ru", "ru")
    np.testing.assert_array_equal(dataset.activation(2), VECTORS[2])
    point = dataset.activations
    assert point is not None
    assert (point.width, point.fingerprint, point.point) == (4, "a" * 32, "pooled")


def test_settings_come_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "safetensors", about="{}")
    dataset = Activations(ActivationsSettings(path=path, fingerprint="b" * 32, point="hidden"))
    assert dataset.activations is not None
    assert (dataset.activations.fingerprint, dataset.activations.point) == ("b" * 32, "hidden")


def broken(vectors: Any) -> Any:
    found = vectors.copy()
    found[1, 2] = np.nan
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"about": "{}"}, "does not say which tower"),
        ({"about": "no JSON"}, "cannot be read"),
        ({"about": "[]"}, "not a JSON object"),
        ({"texts": TEXTS[:2]}, "2 rows of texts for vectors of the shape"),
        ({"texts": ["a", 3, "b"]}, "texts are int"),
        ({"vectors": VECTORS[:, 0]}, "vectors of the shape"),
        ({"vectors": broken(VECTORS)}, "row 1 is not finite"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path, "safetensors", **change)
    with pytest.raises(DataError, match=words):
        Activations(ActivationsSettings(path=path))


@pytest.mark.parametrize("name", ["x.parquet", "x.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no such format"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        Activations(ActivationsSettings(path=path))

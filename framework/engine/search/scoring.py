"""The score filter: how well each text of a click log matches its picture, and which pairs stay.

Scores are appended to a file as they are computed, one line for each row. A run that was stopped
goes on behind the last whole line; a later run with another threshold computes nothing.

Source: LAION-400M (Schuhmann et al., 2021, arXiv:2111.02114) keeps pairs by the same cosine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from engine.core.files import explained, locked, steps, write_pieces
from engine.core.progress import Progress, silent
from engine.data.click_log import written_id
from engine.errors import DataError
from engine.evaluate.runner import encode_batches
from engine.search.identity import identity_of

if TYPE_CHECKING:
    from engine.contracts.dataset import Dataset, Record
    from engine.evaluate.predictor import Predictor

_FORMAT = 1
_BATCH = 16


@dataclass(frozen=True)
class RowScore:
    """The scores of one row.

    Attributes:
        id: of the image.
        scores: cosine of the image and each of its texts, in their order; empty where the image
            cannot be read.
        error: why it cannot be read; else empty.
    """

    id: str
    scores: tuple[float, ...]
    error: str = ""


@dataclass
class FilterReport:
    """What was kept.

    Attributes:
        rows: images of the click log.
        pairs: images with a text.
        kept_rows: images that have a text left.
        kept_pairs: pairs of at least the threshold.
        broken: images that cannot be read; none of their texts is kept.
        threshold: the smallest cosine that is kept.
        quantiles: of the cosines, at 0, 5, 25, 50, 75, 95 and 100 %.
        computed: rows that this run scored; the others were known.
        unreadable: the broken ones, id and reason.
    """

    rows: int = 0
    pairs: int = 0
    kept_rows: int = 0
    kept_pairs: int = 0
    broken: int = 0
    threshold: float = 0.0
    quantiles: list[float] = field(default_factory=list)
    computed: int = 0
    unreadable: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


def filter_by_score(
    dataset: Dataset,
    predictor: Predictor,
    output: Path,
    *,
    keep: float | None = None,
    above: float | None = None,
    progress: Progress = silent,
) -> FilterReport:
    """Write the rows of a click log with the texts that match their images.

    Args:
        dataset: images with queries.
        predictor: the model whose cosines count.
        output: the file to write, JSON lines as ``metadata.json`` has; the scores lie beside it in
            a file that ends in ``.scores.jsonl``.
        keep: the share of the pairs to keep, those of the highest cosines.
        above: instead: the smallest cosine to keep.
        progress: receives how many rows are scored.

    Raises:
        DataError: not one of ``keep`` and ``above``; no pair; the scores beside ``output`` are of
            other data or another model.
        WriteError: the disk is full.
    """
    if (keep is None) == (above is None):
        raise DataError("give either the share of pairs to keep, or the smallest cosine")
    path = scores_file(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock")
    with explained(path), locked(lock, f"{path} is being written by another process", wait=2.0):
        report = FilterReport(rows=len(dataset))
        report.computed = _score_all(dataset, predictor, path, progress)
        values = np.array([value for row in read_scores(path) for value in row.scores], np.float64)
        if not len(values):
            raise DataError("not one pair could be scored: no image can be read, or none has texts")
        report.threshold = _threshold(values, keep, above)
        report.pairs = len(values)
        report.quantiles = np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).tolist()
        write_pieces(output, _kept(dataset, read_scores(path), report))
    return report


def scores_file(output: Path) -> Path:
    """Where the scores lie."""
    return output.with_name(output.name + ".scores.jsonl")


def _threshold(values: np.ndarray[Any, Any], keep: float | None, above: float | None) -> float:
    if above is not None:
        return above
    count = max(1, round((keep or 0) * len(values)))
    return float(np.sort(values)[-count])


def _kept(dataset: Dataset, scores: Iterator[RowScore], report: FilterReport) -> Iterator[bytes]:
    """The lines of the new file; counts what they hold."""
    for index, row in enumerate(scores):
        record = dataset.record(index)
        if row.error:
            report.broken += 1
            if len(report.unreadable) < 1000:
                report.unreadable.append({"id": row.id, "reason": row.error})
            continue
        texts = [
            text for text, value in zip(record.queries, row.scores, strict=True)
            if value >= report.threshold
        ]  # fmt: skip
        if texts:
            report.kept_rows += 1
            report.kept_pairs += len(texts)
            line = {"image": written_id(record.id), "queries": texts}
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def read_scores(path: Path) -> Iterator[RowScore]:
    """The scores of every row, in the order of the data."""
    with path.open("rb") as file:
        next(file)
        for line in file:
            value = json.loads(line)
            yield RowScore(value["id"], tuple(value.get("scores", ())), value.get("error", ""))


def _score_all(dataset: Dataset, predictor: Predictor, path: Path, progress: Progress) -> int:
    """Bring the file of scores up to the last row; how many rows were scored."""
    head = json.dumps(
        {"format": _FORMAT, "model": identity_of(predictor), "data": _print_of(dataset)}
    )
    done = _resume(path, head.encode() + b"\n")
    progress("rows", done, len(dataset))
    rest, count = _Rest(dataset, done), 0
    if not len(rest):
        return 0
    with path.open("ab") as file:
        for batch, vectors in encode_batches(predictor, rest, batch_size=_BATCH):
            rows = iter(vectors.numpy())
            images = {each.index: next(rows) for each in batch.read}
            errors = {each.index: each.reason for each in batch.broken}
            records = {index: rest.record(index) for index in (*images, *errors)}
            texts = [text for index in images for text in records[index].queries]
            encoded = iter(predictor.encode_texts(texts))
            found = {
                index: [float(image @ next(encoded)) for _ in records[index].queries]
                for index, image in images.items()
            }
            lines = [
                {"id": records[index].id, "scores": found[index]} if index in found
                else {"id": records[index].id, "error": errors[index][:500]}
                for index in sorted(records)
            ]  # fmt: skip
            _append(file, lines)
            count += len(lines)
            progress("rows", done + count, len(dataset))
        file.flush()
        os.fsync(file.fileno())
    return count


def _append(file: IO[bytes], lines: Sequence[dict[str, Any]]) -> None:
    """Write whole lines; a kill leaves at most a part of the last one, which is cut off again."""
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    steps.append(file.fileno(), data.encode("utf-8", "backslashreplace"))


def _resume(path: Path, head: bytes) -> int:
    """Make the file, or cut it behind its last whole line; how many rows it has."""
    if not path.is_file() or not path.stat().st_size:
        write_pieces(path, [head])
        return 0
    with path.open("r+b") as file:
        first = file.readline()
        if first != head:
            raise DataError(
                f"{path} has the scores of other data or of another model",
                hint="name another output with `-o`, or remove that file",
            )
        rows, end = 0, file.tell()
        for line in file:
            if not line.endswith(b"\n"):
                break
            rows, end = rows + 1, end + len(line)
        file.truncate(end)
    return rows


def _print_of(dataset: Dataset) -> str:
    """What the rows are: their ids and texts."""
    digest = sha256()
    for index in range(len(dataset)):
        record = dataset.record(index)
        digest.update(json.dumps([record.id, record.queries]).encode())
    return digest.hexdigest()


class _Rest:
    """The rows of a data set from one on."""

    def __init__(self, dataset: Dataset, start: int) -> None:
        self._dataset, self._start = dataset, start

    def __len__(self) -> int:
        return max(0, len(self._dataset) - self._start)

    def record(self, index: int) -> Record:
        return self._dataset.record(self._start + index)

    def image(self, index: int) -> Any:
        return self._dataset.image(self._start + index)


def examples(path: Path, threshold: float, count: int = 24) -> tuple[list[int], list[int]]:
    """Rows to look at: those whose best text scores lowest, and those just above the threshold."""
    best = [(max(row.scores), index) for index, row in enumerate(read_scores(path)) if row.scores]
    best.sort()
    above = [pair for pair in best if pair[0] >= threshold]
    return [i for _, i in islice(best, count)], [i for _, i in islice(above, count)]

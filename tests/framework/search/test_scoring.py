"""The score filter keeps the pairs that match, goes on where it was stopped, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.contracts import Dataset, Record
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.search.pages import scores_page
from engine.search.scoring import examples, filter_by_score, read_scores, scores_file


class Log(Dataset):
    """A click log in memory: each colour with its own name and a wrong one; one broken image."""

    name, classes = "log", ()

    def __init__(self, colours: dict[str, Image.Image]) -> None:
        names = list(colours)
        self.rows = [
            (Record(str(i), (name, names[(i + 1) % len(names)])), colours[name])
            for i, name in enumerate(names)
        ]
        self.read = 0

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> Record:
        return self.rows[index][0]

    def image(self, index: int) -> Image.Image:
        from engine.errors import BrokenImageError

        self.read += 1
        if self.rows[index][0].id == "3":
            raise BrokenImageError("torn <b>")
        return self.rows[index][1]


@pytest.fixture
def log(colours: dict[str, Image.Image]) -> Log:
    return Log(colours)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_matching_pairs_stay(log: Log, predictor: Predictor, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "kept.json"
    report = filter_by_score(log, predictor, output, keep=0.5)
    assert (report.rows, report.pairs, report.kept_pairs, report.broken) == (7, 12, 6, 1)
    names = [row[0].queries[0] for row in log.rows]
    assert lines(output) == [
        {"image": i, "queries": [name]} for i, name in enumerate(names) if i != 3
    ]
    assert report.unreadable == [{"id": "3", "reason": "torn <b>"}]
    for row, (record, image) in zip(read_scores(scores_file(output)), log.rows, strict=True):
        if row.scores:
            cosines = predictor.encode_images(image) @ predictor.encode_texts(record.queries).T
            assert list(row.scores) == pytest.approx(cosines[0].tolist(), abs=1e-6)
    assert report.quantiles[0] == pytest.approx(min(
        v for row in read_scores(scores_file(output)) for v in row.scores))  # fmt: skip
    read = log.read
    again = filter_by_score(log, predictor, output, above=-1.0)
    assert (again.computed, again.kept_pairs, log.read) == (0, 12, read)
    page = scores_page(log, report, scores_file(output), output, "colours")
    assert page.count("data:image/jpeg") == 12
    assert "torn" not in page
    low, above = examples(scores_file(output), report.threshold, 2)
    assert len(low) == len(above) == 2


@pytest.mark.parametrize("cut", [0, 1, 20, 1000])
def test_a_cut_file_goes_on(log: Log, predictor: Predictor, tmp_path: Path, cut: int) -> None:
    """Whatever a kill left of the last lines, the end is the same."""
    output = tmp_path / "kept.json"
    filter_by_score(log, predictor, output, keep=0.5)
    path = scores_file(output)
    whole, kept = path.read_bytes(), output.read_bytes()
    head = whole.index(b"\n") + 1
    path.write_bytes(whole[: max(head, len(whole) - cut)])
    report = filter_by_score(log, predictor, output, keep=0.5)
    assert (report.computed == 0) == (cut == 0)
    assert output.read_bytes() == kept
    for row, line in zip(read_scores(path), whole.splitlines()[1:], strict=True):
        assert list(row.scores) == pytest.approx(json.loads(line).get("scores", []), abs=1e-6)


def test_other_data_or_models_are_refused(log: Log, predictor: Predictor, tmp_path: Path) -> None:
    output = tmp_path / "kept.json"
    filter_by_score(log, predictor, output, keep=1)
    log.rows[0] = (replace(log.rows[0][0], queries=("другой",)), log.rows[0][1])
    with pytest.raises(DataError, match="other data or of another model"):
        filter_by_score(log, predictor, output, keep=1)
    with pytest.raises(DataError, match="either the share"):
        filter_by_score(log, predictor, output)


def test_nothing_readable(
    predictor: Predictor, tmp_path: Path, pictures: Callable[..., Dataset]
) -> None:
    rows: Sequence[Any] = [("1", "broken", None)]
    with pytest.raises(DataError, match="not one pair"):
        filter_by_score(pictures("d", [], rows), predictor, tmp_path / "x", keep=1)

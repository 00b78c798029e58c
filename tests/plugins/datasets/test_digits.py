"""scikit-learn's digits with Russian names."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

from engine_plugins.datasets.digits import NAMES, Digits, queries
from engine_plugins.datasets.settings import DigitsSettings


def test_splits_share_no_scan_and_leave_none_out() -> None:
    train, test = (Digits(DigitsSettings(split=split)) for split in ("train", "test"))
    ids = [{data.record(i).id for i in range(len(data))} for data in (train, test)]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == len(train) + len(test) == 1797
    assert len(test) == 359
    assert train.classes == test.classes == NAMES
    assert {test.record(i).label for i in range(len(test))} == set(range(10))


def test_rows_are_the_scans_and_their_labels() -> None:
    scans, labels = load_digits(return_X_y=True)
    data = Digits(DigitsSettings(size=8))
    for index in range(0, len(data), 100):
        row = data.record(index)
        assert row.label == labels[int(row.id)]
        pixels = np.asarray(data.image(index))
        wanted = 255 - scans[int(row.id)].reshape(8, 8) * 255 / 16
        assert np.abs(pixels - wanted[:, :, None]).max() <= 1


def test_words() -> None:
    assert [queries(5)[i] for i in range(6)] == [
        "цифра пять", "пятёрка", "цифра 5", "рукописная цифра пять", "картинка с пятёркой",
        "изображение цифры пять",
    ]  # fmt: skip
    assert queries(0)[4] == "картинка с ноликом"
    assert queries(1)[4] == "картинка с единицей"
    every = [query for digit in range(10) for query in queries(digit)]
    assert len(set(every)) == 60


def test_queries_name_their_digit() -> None:
    data = Digits(DigitsSettings(queries=6, count=50))
    assert len(data) == 50
    for index in range(50):
        row = data.record(index)
        assert row.label is not None
        assert sorted(row.queries) == sorted(queries(row.label))


def test_images_and_determinism() -> None:
    data, again = Digits(DigitsSettings()), Digits(DigitsSettings())
    copy = pickle.loads(pickle.dumps(data))
    for other in (again, copy):
        assert other.record(9) == data.record(9)
        assert other.image(9).tobytes() == data.image(9).tobytes()
    assert (data.image(0).mode, data.image(0).size) == ("RGB", (64, 64))
    assert Digits(DigitsSettings(seed=1)).record(0) != data.record(0)
    for outside in (-1, len(data)):
        with pytest.raises(IndexError):
            data.image(outside)

"""Classes that a model cannot distinguish: reported with the reason; refused if it is all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.contracts import Dataset
from engine.core.config.schema import ZeroShotSettings
from engine.errors import DataError
from engine.evaluate.alike import equal_rows, tolerance_of
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import run

Make = Callable[..., Dataset]
RED = Image.new("RGB", (8, 8), "red")
LONG = "на этой фотографии в самой середине хорошо видно то что называется так {}"


def set_up(predictor: Predictor, **zero_shot: Any) -> None:
    config = predictor.config
    settings = ZeroShotSettings(**zero_shot)
    predictor.config = SimpleNamespace(name="x", zero_shot=settings, model=config.model)  # type: ignore[assignment]


def tokens_of(predictor: Predictor, ids_of: Callable[[str], Sequence[int]]) -> None:
    predictor.tokenizer.encode = (
        lambda texts, maximum: [  # type: ignore[method-assign]
            [0, *ids_of(text)][:maximum] for text in texts
        ]
    )


def truncated(predictor: Predictor) -> list[str]:
    set_up(predictor, templates=(LONG,))
    return ["красный", "синий", "белый"]


def truncated_in_every_template(predictor: Predictor) -> list[str]:
    set_up(predictor, templates=(LONG, f"а {LONG}"), average="raw")
    return ["красный", "синий", "белый"]


def truncated_long_names(predictor: Predictor) -> list[str]:
    start = " ".join("абвгдежзиклм")
    return [f"{start} красный", f"{start} синий", f"{start} белый"]


def unknown_characters(predictor: Predictor) -> list[str]:
    tokens_of(predictor, lambda text: [9 for _ in text])
    return ["猫", "犬", "鳥"]


def nothing_left(predictor: Predictor) -> list[str]:
    tokens_of(predictor, lambda text: [9] if text.isascii() else [])
    return ["猫", "犬犬", "鳥鳥鳥"]


def folded(predictor: Predictor) -> list[str]:
    tokens_of(predictor, lambda text: [ord(c) % 60 for c in text.lower().split()[0]])
    return ["Кошка", "кошка", "КОШКА "]


def lowered(predictor: Predictor) -> list[str]:
    set_up(predictor, lower=True)
    return ["Красный", "красный", " КРАСНЫЙ "]


def collapsed(predictor: Predictor) -> list[str]:
    with torch.no_grad():
        predictor.model.text.table.weight.fill_(0.3)  # type: ignore[union-attr,operator]
    return ["красный", "синий", "белый"]


def zeroed(predictor: Predictor) -> list[str]:
    with torch.no_grad():
        predictor.model.text.table.weight.zero_()  # type: ignore[union-attr,operator]
    return ["красный", "синий", "белый"]


def up_to_rounding(predictor: Predictor) -> list[str]:
    noise = torch.tensor([[0, 1e-7, 0], [0, 0, -1e-7], [1e-7, 0, 0]])
    with torch.no_grad():
        table = predictor.model.text.table.weight  # type: ignore[union-attr]
        table[1:4] = torch.tensor([1.0, 0.5, -1.0]) + noise  # type: ignore[index]
    return ["красный", "зелёный", "синий"]


CASES = {
    truncated: "truncated", truncated_in_every_template: "truncated",
    truncated_long_names: "truncated", unknown_characters: "same ids", nothing_left: "same ids",
    folded: "same ids", lowered: "only in case", collapsed: "the same vector",
    zeroed: "the same vector", up_to_rounding: "the same vector",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_all_classes_alike_are_refused(
    predictor: Predictor, pictures: Make, case: Callable[[Predictor], list[str]]
) -> None:
    names, reason = case(predictor), CASES[case]
    words = rf"cannot tell the 3 classes apart.*{names[0].strip()}.*{reason}"
    data = pictures("d", names, [("a", RED, None)])
    for call in (
        lambda: predictor.classifier(names),
        lambda: predictor.classify(RED, names),
        lambda: run(predictor, data),
    ):
        with pytest.raises(DataError, match=words) as caught:
            call()
        assert caught.value.hint
    lenient = run(predictor, data, refuse_alike=False)
    assert any(reason in note for note in lenient.notes)
    assert not run(predictor, pictures("d", names[:1], [("a", RED, None)])).predictions["a"]


def test_before_a_single_image_is_read(predictor: Predictor, pictures: Make) -> None:
    names = truncated(predictor)
    row = ("a", AssertionError("it was read"), None)
    with pytest.raises(DataError, match="truncated"):
        run(predictor, pictures("d", names, [row]))


def test_some_classes_alike_are_a_warning(predictor: Predictor, pictures: Make) -> None:
    tokens_of(predictor, lambda text: [8 + len(text) if text.isascii() else 7])
    names = ["one", "猫", "three", "犬", "five!", "鳥"]
    found = run(predictor, pictures("d", names, [("a", RED, None)]))
    assert [note for note in found.notes if "`猫`, `犬`, `鳥`" in note and "same ids" in note]
    assert [note for note in found.notes if "`three`, `five!`" in note]
    assert all("data set `d`" in note and "means nothing" in note for note in found.notes)
    with pytest.warns(UserWarning, match=r"`猫`, `犬`, `鳥`.*same ids"):
        predictor.classify(RED, names)


def test_many_groups_are_reported_in_few_words(predictor: Predictor, pictures: Make) -> None:
    tokens_of(predictor, lambda text: [8 + int(text) // 50])
    names = [str(i) for i in range(1000)]
    notes = run(predictor, pictures("d", names, [("a", RED, None)])).notes
    assert len(notes) == 6
    assert "`0`, `1`, `2`, `3`, `4` and 45 more" in notes[0]
    assert "750 more classes in 15 groups" in notes[-1]
    assert all(len(note) < 400 for note in notes)


def test_hostile_names(predictor: Predictor, pictures: Make) -> None:
    names = ["\x1b[2J" + "x" * 10_000, "\x1b[2J" + "y" * 10_000, "красный"]
    tokens_of(predictor, lambda text: [1] if text == "красный" else [2])
    (note,) = run(predictor, pictures("d", names, [("a", RED, None)])).notes
    assert "\\x1b[2Jxxx" in note
    assert len(note) < 400


def test_a_class_of_zeros(predictor: Predictor, pictures: Make) -> None:
    tokens_of(predictor, lambda text: [1] if text == "красный" else [3] if text == "синий" else [])
    (note,) = run(predictor, pictures("d", ["красный", "синий", "?"], [("a", RED, None)])).notes
    assert "whose vector is zero (`?`)" in note


def test_half_precision_rounds_more(predictor: Predictor) -> None:
    assert tolerance_of(predictor.model) == 1e-6
    assert tolerance_of(predictor.model.half()) == pytest.approx(1e-3, rel=0.1)
    assert tolerance_of(predictor.model.bfloat16()) == pytest.approx(8e-3, rel=0.1)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.integers(2, 5),
    st.integers(0, 2**32 - 1),
)
def test_equal_rows_against_all_pairs(kinds: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(7, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = (centres[kinds] + rng.uniform(-1e-8, 1e-8, (len(kinds), width))).astype(np.float32)
    expected = [
        [i for i, each in enumerate(kinds) if each == kind] for kind in dict.fromkeys(kinds)
    ]
    assert equal_rows(rows, 1e-6) == [group for group in expected if len(group) > 1]


def test_equal_rows_compare_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count of operations: 20,000 rows, whether all differ or all are equal."""
    real, calls = np.linalg.norm, []
    monkeypatch.setattr(np.linalg, "norm", lambda *a, **k: calls.append(1) or real(*a, **k))  # type: ignore[func-returns-value]
    rows = np.random.default_rng(1).normal(size=(20_000, 64)).astype(np.float32)
    rows /= real(rows, axis=1, keepdims=True)
    assert equal_rows(rows, 1e-6) == []
    assert len(calls) < 1000
    assert len(equal_rows(np.repeat(rows[:2], 10_000, axis=0), 1e-6)) == 2
    assert len(calls) < 25_000

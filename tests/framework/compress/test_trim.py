"""Trim: the same answers bit for bit for the kept letters, and a report of what changes outside."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from compress_texts import TEXTS

from engine.compress import fit as fit_module
from engine.compress import folding
from engine.compress.trim import check, trim
from engine.contracts.compressor import Compressor
from engine.errors import ConfigError, PluginError
from engine.evaluate.texts import encode_texts
from engine_plugins.compressors.trim_positions import TrimPositions
from engine_plugins.compressors.trim_vocabulary import TrimVocabulary

Model = Any
GREEK = ["αβγ δζ", "κόσμος", "λόγος και νους"]


def generated(letters: str, count: int = 400) -> list[str]:
    draw = random.Random(4)
    return [
        " ".join("".join(draw.choices(letters, k=draw.randint(1, 8))) for _ in range(3))
        for _ in range(count)
    ]


def step_of(done: Any, use: str) -> Any:
    return next(one for one in done.steps if one.use["use"] == use)


def test_answers_stay_for_the_languages_and_what_changes_outside_is_said(model: Model) -> None:
    built = model()
    texts = [*TEXTS, *generated("абвгдеёжзийклмнопрстуфхцчшщъыьэюя ABCxyzQ0179.,!-")]
    before = encode_texts(built.model, built.tokenizer, texts)
    foreign = encode_texts(built.model, built.tokenizer, GREEK)
    done = trim(built, languages=["ru", "en"])
    assert torch.equal(encode_texts(done.built.model, done.built.tokenizer, texts), before)
    step = step_of(done, "trim_vocabulary")
    assert done.checked >= len(step.step.examples) > 100
    assert done.size.total < done.before
    # Greek, Hebrew and Japanese had tokens that are gone; German never had its own letters.
    changed = step.to_json()["changed_languages"]
    assert {"el", "he", "ja"} <= set(changed)
    assert "de" not in changed
    assert "ru" not in changed
    assert f"letters of {len(changed)} of " in step.to_json()["outside"]
    assert "get other tokens" in step.answers
    again = encode_texts(done.built.model, done.built.tokenizer, GREEK)
    assert torch.isfinite(again).all()
    assert not torch.equal(again, foreign)


def test_without_languages_the_scripts_of_the_texts_stay_whole(model: Model) -> None:
    """A vocabulary of one language has few of its script's letters, and it is trimmed all the same.

    The texts' own tokens alone would not do: other words of the same letters would change.
    """
    built = model()
    texts = ["красный круг", "синий квадрат"]
    before = encode_texts(built.model, built.tokenizer, texts)
    done = trim(built, texts=texts)
    assert torch.equal(encode_texts(done.built.model, done.built.tokenizer, texts), before)
    assert "Cyrillic" in str(step_of(done, "trim_vocabulary").compressor.lossless)
    other = generated("абвгдежзи", 50)
    own = model()
    assert torch.equal(
        encode_texts(done.built.model, done.built.tokenizer, other),
        encode_texts(own.model, own.tokenizer, other),
    )


def test_where_only_unused_rows_go_nothing_changes_outside(model: Model) -> None:
    """A table with more rows than the tokenizer has tokens."""
    built = model(text={"vocab_size": 2000})
    other = built.tokenizer.trimmed(frozenset("абвгдежзиклмнопрст")).tokenizer
    built.tokenizer = other
    step = step_of(trim(built, languages=["Cyrillic"]), "trim_vocabulary")
    assert step.to_json()["kept"] == other.vocab_size
    assert step.to_json()["changed_languages"] == []
    assert step.step.outside == ""


def test_a_language_that_cannot_be_spelled(model: Model) -> None:
    with pytest.raises(ConfigError, match="cannot spell `Georgian`"):
        trim(model(), languages=["Georgian"])
    with pytest.raises(ConfigError, match=r"cannot spell `ka`: it does not know .* such as"):
        trim(model(), languages=["ru", "ka"])


def test_a_step_that_changes_an_answer_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its examples are compared bit for bit: one number off by its last place is enough."""
    whole = TrimVocabulary.apply

    def careless(self: Compressor, step: Any, tensors: Any, shapes: Any) -> Any:
        found = whole(self, step, tensors, shapes)  # type: ignore[arg-type]
        name = next(n for n in found if n.startswith("text.") and found[n].dim() == 1)
        found[name] = torch.nextafter(found[name], found[name] + 1)
        return found

    monkeypatch.setattr(TrimVocabulary, "apply", careless)
    built = model()
    with pytest.raises(PluginError, match="says that nothing changes for texts written with"):
        trim(built, languages=["ru", "en"])


def test_a_step_without_a_promise_is_not_compared(model: Model) -> None:
    built = model()
    done = trim(built, languages=["ru"])
    positions = step_of(done, "trim_positions")
    assert isinstance(positions.compressor, TrimPositions)
    assert positions.step.outside == ""
    assert "outside" not in positions.to_json()
    assert check(built, built, positions) == len(positions.step.examples)


def test_what_is_said_to_compute_the_same_is_compared_too(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fit`` with a step that claims the same function and is off by a thousandth."""
    monkeypatch.setattr(TrimPositions, "same_function", True)
    whole = TrimPositions.apply

    def careless(self: Compressor, step: Any, tensors: Any, shapes: Any) -> Any:
        found = whole(self, step, tensors, shapes)  # type: ignore[arg-type]
        return {n: t * 1.1 if t.dim() == 2 and n.startswith("text.") else t
                for n, t in found.items()}  # fmt: skip

    monkeypatch.setattr(TrimPositions, "apply", careless)
    with pytest.raises(PluginError, match="says that the model computes the same, and"):
        fit_module.fit(model(), 110_000, texts=TEXTS, languages=["ru", "en"])
    assert folding.ROUNDING < 1e-5

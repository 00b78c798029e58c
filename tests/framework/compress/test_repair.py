"""Repair: nearer to the original, not a byte more, and taken back where it does not help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_texts import TEXTS

from engine.compress.calibration import nearest
from engine.compress.fit import fit
from engine.compress.repair import OriginalOutputs, repair, score_again, targets_of
from engine.compress.tested import part_of
from engine.core import artifact
from engine.core.build import read_artifact, save
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.evaluate.texts import encode_texts

Model = Any
LIMIT = 110_000
PICTURES = [np.random.default_rng(i).integers(0, 255, (32, 32, 3)).astype(np.uint8)
            for i in range(12)]  # fmt: skip


def test_what_is_repaired_is_nearer_and_has_the_same_bytes(model: Model, tmp_path: Path) -> None:
    built = model()
    targets = targets_of(built, TEXTS, PICTURES)
    fitted = fit(built, LIMIT, texts=TEXTS, pictures=PICTURES, languages=["ru", "en"])
    assert fitted.quality is not None
    size, before = fitted.size.total, fitted.quality
    done = repair(fitted, targets, steps=60)
    assert done.kept
    assert done.trained > 5
    assert done.after < done.before
    assert fitted.quality.cosine["text"] > before.cosine["text"]
    assert fitted.candidates[0].quality == before  # what was chosen among is as it was measured
    assert fitted.tested == {"text": 12, "vision": 3}
    save(fitted.built, tmp_path / "a")
    assert (tmp_path / "a" / artifact.WEIGHTS).stat().st_size == size <= LIMIT
    again = read_artifact(tmp_path / "a")
    found = encode_texts(again.model, again.tokenizer, TEXTS)
    # What was measured is what a reader of the file gets.
    tests = slice(0, None, 5)
    cosine = float((found * targets.text)[tests].sum(dim=1).mean())
    assert cosine == pytest.approx(fitted.quality.cosine["text"], abs=1e-5)
    same = nearest(found) == nearest(targets.text)
    assert fitted.quality.kept["text"] == pytest.approx(float(same[tests].double().mean()))
    pictures = torch.as_tensor(Predictor(again).encode_pixels(PICTURES))
    assert targets.vision is not None
    answers = ((pictures @ found.T).argmax(1) == (targets.vision @ targets.text.T).argmax(1))[tests]
    assert fitted.quality.answers == pytest.approx(float(answers.double().mean()))
    steps = again.manifest["compression"]["steps"]
    assert [one["use"] for one in steps][-2:] == ["storage", "distillation"]
    assert steps[-1]["measured"] == fitted.quality.to_json()


def test_the_same_repair_gives_the_same_numbers(model: Model) -> None:
    found = []
    for _ in range(2):
        built = model()
        targets = targets_of(built, TEXTS)
        fitted = fit(built, LIMIT, texts=TEXTS, languages=["ru", "en"])
        repair(fitted, targets, steps=10)
        found.append({n: t.clone() for n, t in fitted.built.model.state_dict().items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_what_does_not_help_is_taken_back(model: Model) -> None:
    """Random targets for what is trained on, the model's own answers for what decides."""
    built = model()
    fitted = fit(built, LIMIT, texts=TEXTS, languages=["ru", "en"])
    own = targets_of(fitted.built, TEXTS)
    wanted = torch.nn.functional.normalize(torch.randn(own.text.shape), dim=1)
    wanted[1::5] = own.text[1::5]
    before = {n: t.clone() for n, t in fitted.built.model.state_dict().items()}
    done = repair(fitted, OriginalOutputs(TEXTS, (), wanted, None), steps=20)
    assert not done.kept
    assert all(torch.equal(before[n], t) for n, t in fitted.built.model.state_dict().items())
    assert "made nothing better" in fitted.notes[-1]
    assert all(p.grad is None for p in fitted.built.model.parameters())


def test_what_only_measures_decides_nothing(model: Model) -> None:
    """Whatever the original answers to the inputs that measure, the model becomes the same."""
    states, befores = [], []
    for shift in (0, 1):
        built = model()
        targets = targets_of(built, TEXTS)
        wanted = targets.text.clone()
        wanted[::5] = wanted[::5].roll(shift, dims=1)
        fitted = fit(built, LIMIT, texts=TEXTS, languages=["ru", "en"])
        done = repair(fitted, OriginalOutputs(TEXTS, (), wanted, None), steps=10)
        assert done.kept
        states.append({n: t.clone() for n, t in fitted.built.model.state_dict().items()})
        befores.append(done.before)
    assert befores[0] < befores[1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_input_has_one_part() -> None:
    parts = [part_of(13, one) for one in ("test", "choice", "training")]
    assert torch.stack(parts).sum(dim=0).tolist() == [1] * 13
    assert parts[0].nonzero()[:, 0].tolist() == [0, 5, 10]


def test_the_accuracy_is_that_of_the_repaired_model(model: Model) -> None:
    built = model()
    targets = targets_of(built, TEXTS)
    original = [np.ones((1, 40), bool)]
    fitted = fit(built, LIMIT, texts=TEXTS, languages=["ru", "en"], scorer=lambda one: original)
    repair(fitted, targets, steps=5)
    now = np.ones((1, 40), bool)
    now[0, :4] = False
    score_again(fitted, lambda one: [now], original)
    assert fitted.candidates[0].accuracy == 90
    assert fitted.difference is not None
    assert fitted.difference.value == pytest.approx(-10)


def test_too_few_texts(model: Model) -> None:
    with pytest.raises(DataError, match="3 texts are too few to train with"):
        targets_of(model(), TEXTS[:3])

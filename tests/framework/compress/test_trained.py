"""Steps that must be trained: for limits that no storages meet, by the original's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_texts import TEXTS

from engine.compress.calibration import nearest
from engine.compress.fit import fit
from engine.compress.planning import plan_fit
from engine.compress.repair import targets_of
from engine.compress.steps import compressed, facts_of, plan_step
from engine.core import artifact
from engine.core.build import read_artifact, save
from engine.core.registry import default_registry
from engine.core.size import config_size
from engine.errors import LimitError
from engine.evaluate.predictor import Predictor
from engine.evaluate.texts import encode_texts

Model = Any
REGISTRY = default_registry()
PICTURES = [np.random.default_rng(i).integers(0, 255, (32, 32, 3)).astype(np.uint8)
            for i in range(12)]  # fmt: skip


def step_of(built: Any, use: dict[str, Any]) -> Any:
    facts = facts_of(built.config, built.tokenizer, TEXTS, ["ru", "en"])
    return plan_step(use, built.config, facts, REGISTRY)


def test_a_limit_that_no_storages_meet_is_met_by_training(model: Model, tmp_path: Path) -> None:
    with pytest.raises(LimitError) as caught:
        fit(model(), 1000, texts=TEXTS, languages=["ru", "en"])
    least = int(str(caught.value.message).rpartition(" ")[2].replace(",", ""))
    limit = int(least * 0.9)
    built = model()
    planned = plan_fit(built.config, built.tokenizer, texts=TEXTS, languages=["ru", "en"])
    assert planned.smallest > limit
    assert {one.use["use"] for one, smallest in planned.trained if smallest <= limit}
    targets = targets_of(built, TEXTS, PICTURES)
    original = encode_texts(built.model, built.tokenizer, TEXTS)
    seen = torch.as_tensor(Predictor(built).encode_pixels(PICTURES))
    fitted = fit(built, limit, texts=TEXTS, pictures=PICTURES, languages=["ru", "en"],
                 targets=targets)  # fmt: skip
    save(fitted.built, tmp_path / "a")
    again = read_artifact(tmp_path / "a")
    assert (tmp_path / "a" / artifact.WEIGHTS).stat().st_size == fitted.size.total <= limit
    assert config_size(again.config).total == fitted.size.total
    steps = [one["use"] for one in again.manifest["compression"]["steps"]]
    assert steps[-1] == "storage"
    assert any(REGISTRY.get("compressor", use).load().needs_training for use in steps[:-1])
    assert any("trained on the calibration texts" in note for note in fitted.notes)
    # What is said of the result is its distance to the original, and not to the trained model, on
    # texts and pictures that neither trained nor decided; and so it is for every candidate.
    found = encode_texts(again.model, again.tokenizer, TEXTS)
    pictures = torch.as_tensor(Predictor(again).encode_pixels(PICTURES))
    tests, quality, first = slice(0, None, 5), fitted.quality, fitted.candidates[0].quality
    assert quality is not None
    assert fitted.tested == {"text": 12, "vision": 3}
    same_text = (nearest(found) == nearest(original)).double()
    same_answer = ((pictures @ found.T).argmax(1) == (seen @ original.T).argmax(1)).double()
    for said, own, looked in (
        (quality, (found * original).sum(dim=1)[tests], tests),
        (first, (found * original).sum(dim=1), slice(None)),
    ):
        assert said.cosine["text"] == pytest.approx(float(own.mean()), abs=1e-5)
        assert said.kept["text"] == pytest.approx(float(same_text[looked].mean()))
        assert said.answers == pytest.approx(float(same_answer[looked].mean()))
    lost = 1 - (pictures * seen).sum(dim=1)
    assert first.cosine["vision"] == pytest.approx(float(1 - lost.mean()), abs=1e-5)
    assert again.manifest["compression"]["steps"][-1]["measured"] == quality.to_json()


def test_svd_tables_of_full_rank_change_nothing_but_rounding(model: Model) -> None:
    """Below it, what is left out is the smallest part of the table."""
    built = model(text={"vocab_size": 700, "width": 64})
    original = encode_texts(built.model, built.tokenizer, TEXTS)
    cosines = []
    for rank in (8, 24, 56):
        smaller = compressed(built, step_of(built, {"use": "svd_tables", "rank": rank}))
        found = encode_texts(smaller.model, smaller.tokenizer, TEXTS)
        cosines.append(float((found * original).sum(dim=1).mean()))
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.99
    assert step_of(built, {"use": "svd_tables", "rank": 64}) is None  # it would be larger


@pytest.mark.parametrize("layers", [0, 1])
def test_swap_text_keeps_the_tokenizer_and_the_images(model: Model, layers: int) -> None:
    built = model()
    planned = step_of(built, {"use": "swap_text", "width": 32, "layers": layers})
    smaller = compressed(built, planned)
    assert smaller.tokenizer is built.tokenizer
    before = {n: t for n, t in built.model.state_dict().items() if n.startswith("vision")}
    after = smaller.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert encode_texts(smaller.model, smaller.tokenizer, TEXTS).shape == (len(TEXTS), 24)
    again = compressed(built, planned).model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in again.items())

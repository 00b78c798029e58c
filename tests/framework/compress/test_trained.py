"""Steps that must be trained: for limits that no storages meet, by the original's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compress_texts import TEXTS

from engine.compress.fit import fit
from engine.compress.planning import plan_fit
from engine.compress.repair import targets_of
from engine.compress.steps import compressed, facts_of, plan_step
from engine.core import artifact
from engine.core.build import read_artifact, save
from engine.core.registry import default_registry
from engine.core.size import config_size
from engine.errors import LimitError
from engine.evaluate.texts import encode_texts

Model = Any
REGISTRY = default_registry()


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
    targets = targets_of(built, TEXTS)
    original = encode_texts(built.model, built.tokenizer, TEXTS)
    fitted = fit(built, limit, texts=TEXTS, languages=["ru", "en"], targets=targets)
    save(fitted.built, tmp_path / "a")
    again = read_artifact(tmp_path / "a")
    assert (tmp_path / "a" / artifact.WEIGHTS).stat().st_size == fitted.size.total <= limit
    assert config_size(again.config).total == fitted.size.total
    steps = [one["use"] for one in again.manifest["compression"]["steps"]]
    assert steps[-1] == "storage"
    assert any(REGISTRY.get("compressor", use).load().needs_training for use in steps[:-1])
    assert any("trained on the calibration texts" in note for note in fitted.notes)
    # What is said of the result is its distance to the original, and not to the trained model.
    found = encode_texts(again.model, again.tokenizer, TEXTS)
    assert fitted.quality is not None
    cosine = float((found * original).sum(dim=1).mean())
    assert fitted.quality.cosine["text"] == pytest.approx(cosine, abs=1e-4)


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

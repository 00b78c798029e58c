"""Fit: under the limit to the byte, lossless first, the best choice, resumed, deterministic."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_texts import TEXTS

from engine.compress import losses as losses_module
from engine.compress.answer import FittedModel
from engine.compress.choices import REST, fixed_bytes, items_of, with_choices
from engine.compress.choosing import probes_for
from engine.compress.fit import fit
from engine.compress.losses import measured_losses, replaced, stored_again
from engine.core import artifact
from engine.core.build import Built, read_artifact, save
from engine.core.registry import default_registry
from engine.core.size import config_size, plan_of_module, size_of_plan
from engine.core.stored_tables import StoredTable
from engine.errors import DataError, LimitError
from engine.evaluate import load
from engine.evaluate.texts import encode_texts

Model = Any
REGISTRY = default_registry()


def embeddings(built: Built) -> torch.Tensor:
    return encode_texts(built.model, built.tokenizer, TEXTS)


def written(fitted: FittedModel, folder: Path) -> int:
    report = save(fitted.built, folder)
    size = (folder / artifact.WEIGHTS).stat().st_size
    assert size == report.total == fitted.size.total
    assert size == config_size(read_artifact(folder).config).total
    return size


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4, 0.27, 0.2, 0.15])
def test_the_result_is_under_the_limit_to_the_byte(
    model: Model, tmp_path: Path, share: float
) -> None:
    built = model()
    before = config_size(built.config).total
    limit = int(before * share)
    original = embeddings(built)
    fitted = fit(built, limit, texts=TEXTS, languages=["ru", "en"])
    size = written(fitted, tmp_path / "a")
    assert size <= limit
    again = load(tmp_path / "a")
    # What was measured is what a reader of the file gets.
    found = encode_texts(again.model, again.tokenizer, TEXTS)
    cosine = float((found * original).sum(dim=1).mean())
    if fitted.quality is not None:
        assert cosine == pytest.approx(fitted.quality.cosine["text"], abs=1e-5)
        assert cosine > 0.9
    else:
        assert torch.equal(found, original)
    steps = again.manifest["compression"]["steps"]
    assert [one["use"] for one in steps][:2] == ["trim_positions", "trim_vocabulary"]


def test_a_model_below_the_limit_is_left_as_it_is(model: Model) -> None:
    built = model()
    total = config_size(built.config).total
    own = {name: tensor.clone() for name, tensor in built.model.state_dict().items()}
    fitted = fit(built, total, texts=TEXTS)
    assert fitted.size.total == total
    assert not fitted.steps
    assert "nothing is done" in fitted.notes[0]
    assert all(torch.equal(own[n], t) for n, t in fitted.built.model.state_dict().items())


def test_lossless_steps_alone_where_they_are_enough(model: Model, tmp_path: Path) -> None:
    built = model()
    before = config_size(built.config).total
    original = embeddings(built)
    fitted = fit(built, before - 50_000, texts=TEXTS, languages=["ru", "en"])
    assert fitted.candidates == []
    assert {one.use["use"] for one in fitted.steps} == {"trim_positions", "trim_vocabulary"}
    written(fitted, tmp_path / "a")
    assert torch.equal(embeddings(read_artifact(tmp_path / "a")), original)


def test_what_cannot_be_met_names_the_smallest_size(model: Model) -> None:
    with pytest.raises(LimitError, match="cannot be made as small as 1,000 bytes") as caught:
        fit(model(), 1000, texts=TEXTS, languages=["ru", "en"])
    least = int(str(caught.value.message).rpartition(" ")[2].replace(",", ""))
    fitted = fit(model(), least, texts=TEXTS, languages=["ru", "en"])
    assert fitted.size.total <= least
    assert fitted.size.total > 0.9 * least


def test_no_text(model: Model) -> None:
    with pytest.raises(DataError, match="the calibration set has no text"):
        fit(model(), 160_000, texts=[])


def test_a_larger_limit_never_gives_a_worse_result(model: Model) -> None:
    results = []
    for limit in range(110_000, 600_000, 40_000):
        fitted = fit(model(), limit, texts=TEXTS, languages=["ru", "en"])
        assert fitted.size.total <= limit
        results.append(0.0 if fitted.quality is None else fitted.quality.loss)
    assert results == sorted(results, reverse=True)


def test_the_same_fit_gives_the_same_file(model: Model, tmp_path: Path) -> None:
    sums = []
    for name in ("a", "b"):
        fitted = fit(model(), 130_000, texts=TEXTS, languages=["ru", "en"])
        written(fitted, tmp_path / name)
        sums.append(artifact.sha256(tmp_path / name / artifact.WEIGHTS))
    assert sums[0] == sums[1]


def test_equal_to_brute_force_over_six_tensors(model: Model) -> None:
    """Every combination of the measured losses, with the exact bytes of each file."""
    built = model(text={"layers": 1, "vocab_size": 700})
    plan = plan_of_module(built.model)
    probes, _ = probes_for(built, TEXTS, [])
    every = items_of(plan, built.config, REGISTRY)
    large = sorted((i for i in every if i.name != REST), key=lambda i: -i.numbers)[:6]
    names = ("float32", "float16", "int8_rows", "int4_groups")
    chosen = []
    for item in every:
        few = tuple(c for c in item.choices if c.name in names) if item in large else (
            item.choices[:1])  # fmt: skip
        chosen.append(type(item)(item.name, item.tensors, few))
    found = measured_losses(
        built.model, chosen, probes, budget=1e9, known={}, keep=lambda name, losses: None
    )
    assert all(one is None or one.measured for own in found.values() for one in own.values())
    usable = [
        type(i)(i.name, i.tensors, tuple(c for c in i.choices if found[i.name][c.name]))
        for i in chosen
    ]

    def loss(combination: tuple[int, ...]) -> float:
        return sum(
            found[i.name][i.choices[k].name].value  # type: ignore[union-attr]
            for i, k in zip(usable, combination, strict=True)
        )

    combinations = list(itertools.product(*(range(len(i.choices)) for i in usable)))
    assert len(combinations) > 500
    from engine.compress.frontier import frontier

    front = frontier(
        [[c.bytes for c in i.choices] for i in usable],
        [[found[i.name][c.name].value for c in i.choices] for i in usable],  # type: ignore[union-attr]
    )
    draw = np.random.default_rng(0)
    for pick in draw.choice(len(combinations), 12, replace=False):
        config = with_choices(built.config, plan, usable, combinations[pick], REGISTRY)
        limit = size_of_plan(plan, config, None).total
        counted = fixed_bytes(plan) + sum(
            i.choices[k].bytes for i, k in zip(usable, combinations[pick], strict=True)
        )
        assert limit <= counted <= limit + 200 * len(plan)  # headers are counted generously
        best = front.best(counted - fixed_bytes(plan))
        assert best is not None
        under = [
            c for c in combinations
            if sum(i.choices[k].bytes for i, k in zip(usable, c, strict=True))
            <= counted - fixed_bytes(plan)
        ]  # fmt: skip
        assert best.loss == pytest.approx(min(map(loss, under)), rel=1e-12, abs=1e-15)


def test_a_measured_loss_is_that_of_the_model_with_that_tensor_stored_so(model: Model) -> None:
    """Against the whole model run from its beginning, for tensors of every segment."""
    built = model()
    plan = plan_of_module(built.model)
    probes, _ = probes_for(built, TEXTS, [])
    items = items_of(plan, built.config, REGISTRY)
    found = measured_losses(
        built.model, items, probes, budget=1e9, known={}, keep=lambda name, losses: None
    )
    original = embeddings(built)
    own = built.model.state_dict()
    before = {name: tensor.clone() for name, tensor in own.items()}
    for item in items:
        if item.name == REST or not item.name.startswith("text"):
            continue
        choice = next(c for c in item.choices if c.name == "int4_groups (group 128)")
        with replaced(built.model, [(item.name, stored_again(choice, own[item.name]))]):
            lost = float(1 - (embeddings(built) * original).sum(dim=1).mean())
        one = found[item.name][choice.name]
        assert one is not None
        assert one.value == pytest.approx(lost, abs=2e-6)
    assert all(torch.equal(before[name], own[name]) for name in own)


def test_losses_that_follow_from_others_are_near_the_measured_ones(model: Model) -> None:
    built = model()
    items = items_of(plan_of_module(built.model), built.config, REGISTRY)
    probes, _ = probes_for(built, TEXTS, [])

    def losses(budget: float) -> dict[str, Any]:
        return measured_losses(
            built.model, items, probes, budget=budget, known={}, keep=lambda name, losses: None
        )

    exact, rough = losses(1e9), losses(0.0)
    for item in items:
        for choice in item.choices:
            one, other = exact[item.name][choice.name], rough[item.name][choice.name]
            assert (one is None) == (other is None)
            if one is not None and one.value > 1e-5:
                assert other.value == pytest.approx(one.value, rel=1.5)
    assert any(not one.measured for own in rough.values() for one in own.values() if one)


def test_a_stopped_fit_goes_on_where_it_was(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    limit, counted, stop_at = 130_000, [0], [5]
    whole = losses_module._of_item

    def stopping(*args: Any, **more: Any) -> Any:
        if counted[0] == stop_at[0]:
            raise KeyboardInterrupt
        counted[0] += 1
        return whole(*args, **more)

    monkeypatch.setattr(losses_module, "_of_item", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), limit, texts=TEXTS, languages=["ru"], state=state)
    assert len(json.loads(state.read_text())["values"]) == 5
    stop_at[0] = -1
    fitted = fit(model(), limit, texts=TEXTS, languages=["ru"], state=state)
    resumed = counted[0]
    assert not state.exists()
    counted[0] = 0
    undisturbed = fit(model(), limit, texts=TEXTS, languages=["ru"])
    assert resumed == counted[0]  # nothing was measured twice
    assert undisturbed.chosen == fitted.chosen
    assert undisturbed.losses == fitted.losses


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": "other", "values": {"a": 1}}', b"[]"])
def test_a_state_of_something_else_is_not_taken_up(
    model: Model, tmp_path: Path, content: bytes
) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(content)
    fitted = fit(model(), 130_000, texts=TEXTS, languages=["ru"], state=state)
    assert fitted.size.total <= 130_000


def test_accuracy_decides_where_labels_are_known(model: Model) -> None:
    built = model()
    calls = []

    def scorer(one: Built) -> list[np.ndarray]:
        """The smaller a model's table is stored, the more it answers rightly."""
        calls.append(one)
        right = np.zeros((1, 40), bool)
        right[0, : 10 + 5 * min(len(calls), 5)] = True
        return [right]

    fitted = fit(built, 130_000, texts=TEXTS, languages=["ru", "en"], scorer=scorer)
    assert len(calls) == 1 + len(fitted.candidates)
    assert fitted.candidates[0].accuracy == max(c.accuracy or 0 for c in fitted.candidates)
    assert fitted.accuracy == 37.5
    chosen = f"the best of {len(fitted.candidates)} combinations by their accuracy"
    assert any(chosen in note for note in fitted.notes) is (len(fitted.candidates) > 1)
    assert fitted.images == 40
    assert fitted.difference is not None
    assert fitted.difference.low <= fitted.difference.value <= fitted.difference.high


def test_pictures_are_compared_where_they_are_given(model: Model) -> None:
    draw = np.random.default_rng(1)
    pictures = list(draw.integers(0, 255, (6, 32, 32, 3)).astype(np.uint8))
    fitted = fit(model(), 130_000, texts=TEXTS, pictures=pictures, languages=["ru"])
    assert fitted.quality is not None
    assert fitted.quality.answers is not None
    assert not any("drawn" in note for note in fitted.notes)


def test_a_fitted_model_can_be_fitted_again(model: Model, tmp_path: Path) -> None:
    written(fit(model(), 180_000, texts=TEXTS, languages=["ru", "en"]), tmp_path / "a")
    fitted = fit(read_artifact(tmp_path / "a"), 120_000, texts=TEXTS, languages=["ru", "en"])
    assert written(fitted, tmp_path / "b") <= 120_000
    steps = read_artifact(tmp_path / "b").manifest["compression"]["steps"]
    assert sum(one["use"] == "storage" for one in steps) == 2


def test_large_tables_of_a_fitted_model_stay_stored(model: Model, tmp_path: Path) -> None:
    built = model(text={"vocab_size": 20_000, "width": 64})
    total = config_size(built.config).total
    written(fit(built, total // 5, texts=TEXTS, languages=["ru", "en"]), tmp_path / "a")
    tables = [m for m in load(tmp_path / "a").model.text.modules() if isinstance(m, StoredTable)]
    # The rows above the vocabulary went, so the table is small now.
    assert tables == []

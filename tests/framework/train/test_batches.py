"""What batches are made of: clusters, broken pictures, towers that mix rows, other precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.clusters.assign import DatasetLabels
from engine.contracts.dataset import Dataset
from engine.contracts.state import State
from engine.core.config.schema import EngineConfig
from engine.core.config.train_schema import AugmentSettings, ScheduleSettings, chosen_blocks
from engine.data.views import augmented
from engine.errors import BrokenImageError, ConfigError
from engine.train.distribution import Processes
from engine.train.loop import Trainer
from engine.train.meter import routing
from engine.train.plan import epoch_of, plan_stages
from engine.train.stages import mixes_rows, rate_at

from .conftest import Run

Make = Callable[..., EngineConfig]
CLUSTERED = (
    "model.projection.text={use: clustered, count: 3, of: {use: residual}}",
    "train.stages.0.losses=[{use: contrastive}, {use: router, weight: 0.3}, {use: balance}]",
)


def labels(dataset: Dataset) -> DatasetLabels:
    """The cluster of a query: short, longer, long."""
    texts = [text for i in range(len(dataset)) for text in dataset.record(i).queries]
    of_text = np.array([min(len(text) // 14, 2) for text in texts])
    return DatasetLabels(np.arange(len(dataset)) % 3, of_text, 3)


@pytest.mark.parametrize("queries", ["random", "mean"])
@pytest.mark.parametrize("chunk", ["null", "5"])
def test_a_clustered_model_trains_and_tells_how_it_routes(
    make_config: Make, trained: Run, queries: str, chunk: str
) -> None:
    config = make_config(
        *CLUSTERED, f"train.queries={queries}", "train.stages.0.epochs=20",
        "train.stages.0.optimizer.lr=0.01",
        "train.stages.0.sampler={use: in_cluster, share: [0.0, 0.5]}",
        *([] if chunk == "null" else [f"train.stages.0.chunk_size={chunk}"]),
    )  # fmt: skip
    _, heard = trained(config, labels=labels)
    values = [v for _, v in heard.values]
    assert {"loss_contrastive", "loss_router", "loss_balance", "routing_evenness",
            "routing_largest", "router_accuracy"} <= values[0].keys()  # fmt: skip
    first, last = (np.mean([v["loss_router"] for v in some]) for some in (values[:6], values[-6:]))
    assert last < first
    assert all(0 <= v["router_accuracy"] <= 100 for v in values)


def test_the_router_is_held_to_the_cluster_of_the_text_that_was_drawn(
    make_config: Make, trained: Run
) -> None:
    seen: list[tuple[list[int], list[int]]] = []
    trainer, _ = trained(make_config(*CLUSTERED), labels=labels, run=False)
    real = trainer._apply

    def apply(stage: Any, measured: Any, rows: Any) -> None:
        seen.append((measured.batch["cluster"].tolist(), rows.tolist()))
        real(stage, measured, rows)

    trainer._apply = apply  # type: ignore[method-assign]
    trainer.run()
    data = trainer.data
    assert data.text_clusters is not None
    for clusters, rows in seen:
        for cluster, row in zip(clusters, rows, strict=True):
            own = data.text_clusters[data.first[row] : data.first[row + 1]]
            assert cluster in own
    assert len({c for clusters, _ in seen for c in clusters}) == 3


def test_teacher_forcing_sends_each_text_to_its_own_cluster(
    make_config: Make, trained: Run
) -> None:
    config = make_config(*CLUSTERED, "train.stages.0.teacher_forcing=true")
    trainer, _ = trained(config, labels=labels, run=False)
    routed: list[bool] = []

    def seen(_: Any, given: tuple[State], out: State) -> None:
        if "cluster" in given[0]:
            routed.append(torch.equal(out["routed"], given[0]["cluster"]))

    trainer.model.text_projection.register_forward_hook(seen)
    trainer.run()
    assert routed == [True] * 6


def break_pictures(dataset: Dataset, broken: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(dataset).image

    def image(self: Dataset, index: int) -> Image.Image:
        if index in broken:
            raise BrokenImageError(f"{index}: cut short", reason="cut short")
        return real(self, index)

    monkeypatch.setattr(type(dataset), "image", image)


@pytest.mark.parametrize("trains", ["{text: true}", "{vision: true}"])
def test_broken_pictures_cost_their_rows_alone(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch, trains: str
) -> None:
    trainer, _ = trained(make_config(f"train.stages.0.trains={trains}"), run=False)
    break_pictures(trainer.data.dataset, {3, 17, 40}, monkeypatch)
    sizes: list[int] = []
    real = trainer._apply

    def apply(stage: Any, measured: Any, rows: Any) -> None:
        sizes.append(len(measured.batch["image.embedding"]))
        real(stage, measured, rows)

    trainer._apply = apply  # type: ignore[method-assign]
    trainer.run()
    assert sum(sizes[:3]) == sum(sizes[3:]) == 48 - 3
    assert trainer.state.finished_stages[0]["broken_images"] == 3


def test_batches_without_a_whole_picture_are_left_out_with_a_note(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, heard = trained(make_config(), run=False)
    epoch = [rows.tolist() for rows in batches_of(trainer, 0)]
    break_pictures(trainer.data.dataset, set(epoch[1]), monkeypatch)
    trainer.run()
    assert sum("16 of its images are broken" in note for note in heard.notes) >= 1
    assert heard.values[1][0] == 3  # step 2 was left out


def batches_of(trainer: Trainer, epoch: int) -> Any:
    """The batches of an epoch of the first stage."""
    plan = plan_stages(trainer.parts.plan, trainer.data, trainer.model)[0]
    position = epoch_of(plan.settings, trainer.data, trainer.parts.seed, 0, epoch, plan.epochs)
    return plan.sampler.batches(position)


BAG = (
    "model.text={use: bag_of_tokens, width: 16, layers: 3, vocab_size: 400, max_tokens: 15,"
    " tokenizer: {use: trained}}"
)


def test_towers_with_batch_norm_are_neither_split_nor_merged(
    make_config: Make, trained: Run
) -> None:
    config = make_config(BAG, "train.stages.0.trains={text: true}")
    trainer, _ = trained(config)
    assert mixes_rows(trainer.model.text, 0)
    assert not mixes_rows(trainer.model.vision, 0)
    norm = trainer.model.text.blocks[0].norm
    assert int(norm.num_batches_tracked) == 6  # once a step
    with pytest.raises(ConfigError, match="BatchNorm"):
        trained(make_config(BAG, "train.stages.0.trains={text: true}",
                            "train.stages.0.chunk_size=4"))  # fmt: skip


def test_frozen_batch_norm_stands_still(make_config: Make, trained: Run) -> None:
    config = make_config(BAG, "train.stages.0.trains={text: {blocks: last 1}}")
    trainer, heard = trained(config)
    first, last = trainer.model.text.blocks[0].norm, trainer.model.text.blocks[2].norm
    assert int(first.num_batches_tracked) == 0
    assert int(last.num_batches_tracked) == 6
    assert "text: 3 of 5 segments computed once" in heard.notes[0]


def test_bfloat16_trains_near_float32(make_config: Make, trained: Run) -> None:
    _, exact = trained(make_config("train.stages.0.trains={text: true, vision: true}"))
    _, rough = trained(
        make_config("train.stages.0.trains={text: true, vision: true}", "train.precision=bfloat16")
    )
    assert rough.losses == pytest.approx(exact.losses, abs=0.2)
    assert rough.losses != exact.losses


def test_clipped_gradients_change_the_steps(make_config: Make, trained: Run) -> None:
    _, free = trained(make_config("train.stages.0.optimizer.use=adam"))
    _, held = trained(
        make_config("train.stages.0.optimizer.use=adam", "train.stages.0.clip_gradients=1e-9",
                    "train.stages.0.optimizer.eps=1.0")
    )  # fmt: skip
    assert held.losses[0] == free.losses[0]
    assert held.losses[1] != free.losses[1]


def test_schedules() -> None:
    def rates(steps: int = 10, epochs: float = 5, **settings: Any) -> list[float]:
        made = ScheduleSettings(**settings)
        return [round(rate_at(i, steps, epochs, made), 4) for i in range(steps)]

    assert rates(name="constant", warmup=3)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(name="linear", final=0.5)[0] == 1.0
    assert rates(name="linear")[5] == 0.5
    assert rates(name="cosine")[5] == 0.5
    assert rates(name="cosine", final=0.2)[5] == 0.6
    assert rates(name="cosine", warmup=0.2)[:3] == [0.3333, 0.6667, 1.0]
    assert rates(name="multistep", at=(2, 4), factor=0.1) == [1.0] * 4 + [0.1] * 4 + [0.01] * 2


def test_blocks_by_name_and_number() -> None:
    assert chosen_blocks("last 2", 5) == {3, 4}
    assert chosen_blocks("first 1", 5) == {0}
    assert chosen_blocks("all", 2) == {0, 1}
    assert chosen_blocks("none", 2) == set()
    assert chosen_blocks((0, 4), 5) == {0, 4}
    with pytest.raises(ValueError, match="no block 5"):
        chosen_blocks((5,), 5)


def test_views_differ_by_their_seed_and_stay_inside() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    settings = AugmentSettings(crop=(0.3, 1.0), flip=True)
    views = [augmented(image, settings, seed) for seed in range(30)]
    assert all(0 < v.width <= 30 and 0 < v.height <= 40 for v in views)
    assert len({v.tobytes() for v in views}) > 25
    assert augmented(image, settings, 3).tobytes() == views[3].tobytes()


def test_parts_of_a_batch_cover_it_in_order() -> None:
    rows = np.arange(11)
    parts = []
    for rank in range(4):
        processes = Processes()
        processes.rank, processes.count = rank, 4
        parts.append(processes.shard(rows))
    assert [len(part) for part in parts] == [3, 3, 3, 2]
    assert np.array_equal(np.concatenate(parts), rows)


def test_routing_in_numbers() -> None:
    logits = torch.eye(4)[[0, 0, 1, 3]]
    batch = {"text.router_logits": logits, "cluster": torch.tensor([0, 1, 1, -1])}
    found = {name: float(value) for name, value in routing(batch).items()}
    assert found["routing_largest"] == 0.5
    assert found["routing_evenness"] == pytest.approx(1.5 / 2)
    assert found["router_accuracy"] == pytest.approx(200 / 3)
    assert routing({"image": logits}) == {}


def test_the_cache_of_one_run_serves_another(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    shared = f"train.cache.folder={tmp_path / 'shared'}"
    _, first = trained(make_config(shared))
    sizes = {p: p.stat().st_size for p in (tmp_path / "shared").rglob("data")}
    calls = 0

    def count(built: Any) -> None:
        real = built.model.vision.run

        def run(state: Any, start: int, stop: int, **more: Any) -> Any:
            nonlocal calls
            calls += start == 0 and len(next(iter(state.values()))) > 1
            return real(state, start, stop, **more)

        built.model.vision.run = run

    _, second = trained(make_config(shared), change=count)
    assert second.losses == pytest.approx(first.losses, abs=1e-6)
    assert calls == 0
    assert {p: p.stat().st_size for p in (tmp_path / "shared").rglob("data")} == sizes

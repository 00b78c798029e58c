"""Frozen prefixes: training and evaluation name, compute and keep them in the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cache.frozen import current_precision
from engine.core.config.schema import EngineConfig
from engine.evaluate.features import FeatureCache
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import run
from engine.train.loop import Trainer

Make = Callable[..., EngineConfig]
Run = Callable[..., Any]


def tower_rows(trainer: Trainer, folder: Path) -> int:
    """Pictures of the training data that run through the tower when they are evaluated."""
    with FeatureCache(folder) as cache:
        return run(Predictor(trainer.built), trainer.data.dataset, features=cache).tower_rows


def watch(seen: list[tuple[str, int, torch.dtype]]) -> Callable[[Any], None]:
    """Note each run of a tower from its beginning: which, of how many rows, in which precision."""

    def change(built: Any) -> None:
        for name in ("vision", "text"):
            tower = getattr(built.model, name)

            def run(
                state: Any, start: int, stop: int, name: str = name, real: Any = tower.run,
                **more: Any,
            ) -> Any:  # fmt: skip
                rows = len(next(iter(state.values())))
                if start == 0 and rows > 1:  # one row is a probe
                    seen.append((name, rows, current_precision(torch.device("cpu"))))
                return real(state, start, stop, **more)

            tower.run = run

    return change


def test_evaluation_finds_what_training_computed(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    trainer, _ = trained(make_config(f"train.cache.folder={shared}"))
    assert tower_rows(trainer, shared) == 0


def test_training_finds_what_evaluation_computed(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    before, _ = trained(make_config(), run=False)
    assert tower_rows(before, shared) == 48
    seen: list[tuple[str, int, torch.dtype]] = []
    trained(make_config(f"train.cache.folder={shared}"), change=watch(seen))
    assert {name for name, *_ in seen} == {"text"}


@pytest.mark.parametrize(
    "override", ["train.precision=bfloat16", "train.cache.dtype=float16", "seed=1"]
)
def test_what_was_computed_in_another_way_is_not_found(
    make_config: Make, trained: Run, tmp_path: Path, override: str
) -> None:
    shared = tmp_path / "shared"
    trainer, _ = trained(make_config(f"train.cache.folder={shared}", override))
    plain, _ = trained(make_config(), run=False)
    assert tower_rows(plain, shared) == 48
    if override == "train.precision=bfloat16":
        with torch.autocast("cpu", torch.bfloat16):
            assert tower_rows(trainer, shared) == 0
    assert tower_rows(trainer, shared) == 0  # now also without


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("around", [None, torch.bfloat16])
def test_both_prefixes_run_under_one_rule(
    make_config: Make, trained: Run, precision: str, around: torch.dtype | None
) -> None:
    seen: list[tuple[str, int, torch.dtype]] = []
    config = make_config(f"train.precision={precision}")
    with torch.autocast("cpu", around, enabled=around is not None):
        trained(config, change=watch(seen))
    assert {name for name, *_ in seen} == {"vision", "text"}
    assert {used for *_, used in seen} == {getattr(torch, precision)}


@pytest.mark.parametrize("vision", ["true", "false"])
def test_training_goes_on_where_the_cache_cannot_be_written(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch, vision: str
) -> None:
    """Of a frozen tower activations would be kept, of one that trains its pixels."""
    config = make_config(f"train.stages.0.trains={{text: {{blocks: last 2}}, vision: {vision}}}")
    _, undisturbed = trained(config)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for where in ("engine.cache.budget.open_for_lock", "tempfile.TemporaryFile"):
        monkeypatch.setattr(where, full)
    _, heard = trained(config)
    assert heard.losses == pytest.approx(undisturbed.losses, abs=1e-4)
    notes = [note for note in heard.notes if "No space left on device" in note]
    assert len(notes) == (2 if vision == "false" else 1)

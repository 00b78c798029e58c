"""Small runs: a model of a few thousand parameters on drawn shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from engine.clusters.assign import DatasetLabels
from engine.contracts.training import Logger, LoggerSettings, RunInfo
from engine.core.build import Built, build
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.train.data import TrainingRows
from engine.train.evaluator import Evaluator
from engine.train.loop import Trainer

BASE: dict[str, Any] = {
    "engine": 1,
    "name": "little",
    "model": {
        "embed_dim": 16,
        "vision": {
            "use": "small_vit", "image_size": 16, "convolutions": 2, "width": 16, "layers": 3,
            "heads": 2,
        },
        "text": {
            "use": "gpt3small", "width": 16, "layers": 4, "heads": 2, "vocab_size": 400,
            "max_tokens": 15, "n_positions": 32, "tokenizer": {"use": "trained"},
        },
        "projection": {"vision": {"use": "residual"}, "text": {"use": "residual"}},
    },
    "data": {"train": {"use": "shapes", "count": 48, "size": 16}},
    "train": {
        "threads": 1,
        "log_every": 1,
        "loggers": [],
        "device": "cpu",
        "stages": [
            {
                "name": "blocks", "trains": {"text": {"blocks": "last 2"}}, "epochs": 2,
                "batch_size": 16, "optimizer": {"use": "adamw", "lr": 1.0e-3},
            }
        ],
    },
}  # fmt: skip


class Recorder(Logger):
    """Keeps what it received."""

    def __init__(self) -> None:
        super().__init__(LoggerSettings())
        self.values: list[tuple[int, dict[str, float]]] = []
        self.notes: list[str] = []
        self.closed = False

    def start(self, run: RunInfo) -> None:
        self.run = run

    def log(self, step: int, values: Any) -> None:
        self.values.append((step, dict(values)))

    def note(self, step: int, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        self.closed = True

    @property
    def losses(self) -> list[float]:
        return [values["loss"] for _, values in self.values if "loss" in values]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Numbers that are compared to the last bit need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., EngineConfig]:
    """``make_config("train.stages.0.batch_size=8")``: the little config with overrides."""

    def make(*overrides: str) -> EngineConfig:
        path = tmp_path / "little.yaml"
        path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        return load_config(path, overrides)

    return make


Run = Callable[..., tuple[Trainer, Recorder]]


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """Train a config; gives the trainer and what its logger heard."""
    count = 0

    def train(
        config: EngineConfig,
        folder: Path | None = None,
        *,
        resume: bool = False,
        evaluator: Evaluator | None = None,
        labels: Callable[[Any], DatasetLabels] | None = None,
        change: Callable[[Built], None] = lambda built: None,
        run: bool = True,
    ) -> tuple[Trainer, Recorder]:
        nonlocal count
        count += 1
        folder = folder or tmp_path / f"run{count}"
        folder.mkdir(exist_ok=True)
        built = build(config)
        change(built)
        assert config.data.train is not None
        dataset = config.data.train.create()
        settings = config.model.text.settings
        found = None if labels is None else labels(dataset)
        data = TrainingRows(dataset, built.tokenizer, settings.max_tokens, found)
        recorder = Recorder()
        assert config.train is not None
        callbacks = [(use.name, use.create()) for use in config.train.callbacks]
        trainer = Trainer(
            built, data, folder, evaluator=evaluator, loggers=(recorder,), callbacks=callbacks
        )
        if run:
            trainer.run(resume=resume)
        return trainer, recorder

    return train


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The model's state dict, copied."""
    return {name: t.detach().clone() for name, t in trainer.model.state_dict().items()}

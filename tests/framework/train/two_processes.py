"""Run by torchrun in test_processes.py: trains configs and keeps every step's loss and gradients.

python two_processes.py CONFIG RUN OUT [CONFIG RUN OUT ...]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from engine.clusters.assign import DatasetLabels
from engine.core.build import build
from engine.core.config import load_config
from engine.train.data import TrainingRows
from engine.train.loop import Trainer


def main(config_file: Path, run: Path, out: Path) -> None:
    config = load_config(config_file)
    built = build(config)
    dataset = config.data.train.create()  # type: ignore[union-attr]
    texts = sum(len(dataset.record(i).queries) for i in range(len(dataset)))
    labels = DatasetLabels(np.arange(len(dataset)) % 3, np.arange(texts) % 3, 3)
    data = TrainingRows(dataset, built.tokenizer, 15, labels)
    run.mkdir(exist_ok=True)
    trainer = Trainer(built, data, run)
    losses: list[dict[str, float]] = []
    gradients: dict[str, torch.Tensor] = {}
    real = trainer._apply

    def apply(stage: Any, measured: Any, rows: Any) -> None:
        step = len(losses)
        losses.append({name: float(value) for name, value in measured.losses.items()})
        for name, parameter in zip(stage.optimizer.names, stage.optimizer.parameters, strict=True):
            if parameter.grad is not None:
                gradients[f"{step}.{name}"] = parameter.grad.clone()
        real(stage, measured, rows)

    trainer._apply = apply  # type: ignore[method-assign]
    trainer.run()
    if trainer.processes.main:
        gradients |= {f"buffer.{name}": tensor for name, tensor in trainer.model.named_buffers()}
        save_file(gradients, out / "gradients.safetensors")
        (out / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    torch.set_num_threads(1)
    paths = list(map(Path, sys.argv[1:]))
    if len(paths) > 3 and int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("gloo")  # once: several trainings share it; one makes its own
    for place in range(0, len(paths), 3):
        main(*paths[place : place + 3])
    if dist.is_initialized():
        dist.destroy_process_group()

"""The kinds of plugin: for each its contract and the base of its settings.

Both are named here, not imported: most contracts import torch, and every command reads this table.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What Engine knows of a kind of plugin.

    Attributes:
        description: what its plugins do, in a few words.
        settings_base: ``"module:Class"`` from which the settings of its plugins derive.
        contract: ``"module:Class"`` from which its plugins derive.
    """

    description: str
    settings_base: str
    contract: str

    def load_settings_base(self) -> type[Any]:
        """Import and return the base of the settings. It does not import torch."""
        return _load(self.settings_base)

    def load_contract(self) -> type[Any]:
        """Import and return the contract."""
        return _load(self.contract)


def _load(path: str) -> type[Any]:
    module, _, name = path.partition(":")
    found: type[Any] = getattr(importlib.import_module(f"engine.contracts.{module}"), name)
    return found


KINDS: dict[str, Kind] = {
    "text_encoder": Kind(
        "turns token ids into features (a tower)",
        "tower_settings:TextEncoderSettings",
        "tower:TextEncoder",
    ),
    "vision_tower": Kind(
        "turns pixels into features (a tower)",
        "tower_settings:VisionTowerSettings",
        "tower:VisionTower",
    ),
    "projection": Kind(
        "takes a tower's features into the joint space",
        "projection_settings:ProjectionSettings",
        "projection:Projection",
    ),
    "tokenizer": Kind(
        "turns texts into token ids",
        "tokenizer:TokenizerSettings",
        "tokenizer:Tokenizer",
    ),
    "embedder": Kind(
        "turns texts into vectors for clustering",
        "clustering_settings:EmbedderSettings",
        "clustering:Embedder",
    ),
    "clusterer": Kind(
        "finds clusters among vectors, and the cluster of a new one",
        "clustering_settings:ClustererSettings",
        "clustering:Clusterer",
    ),
    "dataset": Kind(
        "images, activations or none of them, with texts or classes",
        "dataset:DatasetSettings",
        "dataset:Dataset",
    ),
    "checkpoint_adapter": Kind(
        "reads checkpoints of another program by the names of their tensors",
        "settings:Settings",
        "checkpoint_adapter:CheckpointAdapter",
    ),
    "loss": Kind(
        "what training makes small",
        "training_settings:LossSettings",
        "training:Loss",
    ),
    "sampler": Kind(
        "chooses the rows of every training batch",
        "training_settings:SamplerSettings",
        "training:Sampler",
    ),
    "logger": Kind(
        "receives what training measures",
        "training_settings:LoggerSettings",
        "training:Logger",
    ),
    "optimizer": Kind(
        "changes the weights once their gradients are known",
        "training_settings:OptimizerSettings",
        "optimizer:OptimizerFactory",
    ),
    "callback": Kind(
        "accompanies a run: averages weights, ends a stage early",
        "training_settings:CallbackSettings",
        "callback:Callback",
    ),
    "teacher": Kind(
        "is a frozen model whose outputs another model learns from",
        "teacher:TeacherSettings",
        "teacher:Teacher",
    ),
    "metric": Kind(
        "computes a number from a model's answers",
        "settings:Settings",
        "metric:Metric",
    ),
    "storage": Kind(
        "writes the numbers of a tensor into the file of weights",
        "storage:StorageSettings",
        "storage:Storage",
    ),
    "compressor": Kind(
        "a step that makes a model smaller",
        "compressor:CompressorSettings",
        "compressor:Compressor",
    ),
    "command": Kind(
        "is a subcommand of engine",
        "settings:Settings",
        "command:Command",
    ),
}
"""The kinds of plugin by the names that :class:`engine.contracts.hooks.Plugin` takes."""

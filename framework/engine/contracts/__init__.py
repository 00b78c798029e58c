"""The contracts: what a plugin of each kind takes, gives and promises. Start reading here.

==============  =======================  ================================================
kind            contract                 settings derive from
==============  =======================  ================================================
text_encoder    :class:`TextEncoder`     :class:`TextEncoderSettings`
vision_tower    :class:`VisionTower`     :class:`VisionTowerSettings`
projection      :class:`Projection`      :class:`ProjectionSettings`
tokenizer       :class:`Tokenizer`       :class:`TokenizerSettings`
embedder        :class:`Embedder`        :class:`EmbedderSettings`
clusterer       :class:`Clusterer`       :class:`ClustererSettings`
dataset         :class:`Dataset`         :class:`DatasetSettings`
key_layout      :class:`KeyLayout`       :class:`Settings`
loss            :class:`Loss`            :class:`LossSettings`
sampler         :class:`Sampler`         :class:`SamplerSettings`
logger          :class:`Logger`          :class:`LoggerSettings`
==============  =======================  ================================================

Names are imported on first use, so that a module with settings alone never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.contracts.clustering import Arrays, Clusterer, Embedder, check_vectors
    from engine.contracts.dataset import Dataset, Record
    from engine.contracts.description import Description, Difference, Fact, Table
    from engine.contracts.layout import KeyLayout
    from engine.contracts.plan import Plan, TensorPlan, TowerPlan
    from engine.contracts.projection import Projection
    from engine.contracts.settings import (
        KINDS,
        Bytes,
        ClustererSettings,
        DatasetSettings,
        EmbedderSettings,
        ProjectionSettings,
        Settings,
        SourceName,
        TextEncoderSettings,
        TokenizerSettings,
        TowerSettings,
        Use,
        UseClusterer,
        UseDataset,
        UseEmbedder,
        UseProjection,
        UseTextEncoder,
        UseTokenizer,
        UseVisionTower,
        VisionTowerSettings,
        WeightsSettings,
    )
    from engine.contracts.state import (
        Segment,
        State,
        last_place,
        pad_tokens,
        segments_of,
        take_place,
    )
    from engine.contracts.tokenizer import Texts, Tokenizer
    from engine.contracts.tower import Preprocess, TextEncoder, Tower, VisionTower
    from engine.contracts.training import Epoch, Logger, Loss, Rows, RunInfo, Sampler
    from engine.contracts.training_settings import (
        LoggerSettings,
        LossSettings,
        SamplerSettings,
        UseLogger,
        UseLoss,
        UseSampler,
    )

_HOMES = {
    "clustering": ("Arrays", "Clusterer", "Embedder", "check_vectors"),
    "dataset": ("Dataset", "Record"),
    "description": ("Description", "Difference", "Fact", "Table"),
    "layout": ("KeyLayout",),
    "plan": ("Plan", "TensorPlan", "TowerPlan"),
    "projection": ("Projection",),
    "settings": (
        "KINDS", "Bytes", "ClustererSettings", "DatasetSettings", "EmbedderSettings",
        "ProjectionSettings", "Settings", "SourceName",
        "TextEncoderSettings", "TokenizerSettings", "TowerSettings", "Use", "UseClusterer",
        "UseDataset", "UseEmbedder", "UseProjection", "UseTextEncoder", "UseTokenizer",
        "UseVisionTower", "VisionTowerSettings", "WeightsSettings",
    ),
    "state": ("Segment", "State", "last_place", "pad_tokens", "segments_of", "take_place"),
    "tokenizer": ("Texts", "Tokenizer"),
    "tower": ("Preprocess", "TextEncoder", "Tower", "VisionTower"),
    "training": ("Epoch", "Logger", "Loss", "Rows", "RunInfo", "Sampler"),
    "training_settings": (
        "LoggerSettings", "LossSettings", "SamplerSettings", "UseLogger", "UseLoss", "UseSampler",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "KINDS",
    "Arrays",
    "Bytes",
    "Clusterer",
    "ClustererSettings",
    "Dataset",
    "DatasetSettings",
    "Description",
    "Difference",
    "Embedder",
    "EmbedderSettings",
    "Epoch",
    "Fact",
    "KeyLayout",
    "Logger",
    "LoggerSettings",
    "Loss",
    "LossSettings",
    "Plan",
    "Preprocess",
    "Projection",
    "ProjectionSettings",
    "Record",
    "Rows",
    "RunInfo",
    "Sampler",
    "SamplerSettings",
    "Segment",
    "Settings",
    "SourceName",
    "State",
    "Table",
    "TensorPlan",
    "TextEncoder",
    "TextEncoderSettings",
    "Texts",
    "Tokenizer",
    "TokenizerSettings",
    "Tower",
    "TowerPlan",
    "TowerSettings",
    "Use",
    "UseClusterer",
    "UseDataset",
    "UseEmbedder",
    "UseLogger",
    "UseLoss",
    "UseProjection",
    "UseSampler",
    "UseTextEncoder",
    "UseTokenizer",
    "UseVisionTower",
    "VisionTower",
    "VisionTowerSettings",
    "WeightsSettings",
    "check_vectors",
    "last_place",
    "pad_tokens",
    "segments_of",
    "take_place",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

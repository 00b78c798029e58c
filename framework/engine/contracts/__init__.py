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
checkpoint_adapter      :class:`CheckpointAdapter`       :class:`Settings`
loss            :class:`Loss`            :class:`LossSettings`
sampler         :class:`Sampler`         :class:`SamplerSettings`
logger          :class:`Logger`          :class:`LoggerSettings`
metric          :class:`Metric`          :class:`Settings`
storage         :class:`Storage`         :class:`StorageSettings`
compressor      :class:`Compressor`      :class:`CompressorSettings`
command         :class:`Command`         :class:`Settings`
optimizer       :class:`OptimizerFactory` :class:`OptimizerSettings`
callback        :class:`Callback`        :class:`CallbackSettings`
teacher         :class:`Teacher`         :class:`TeacherSettings`
==============  =======================  ================================================

Names are imported on first use, so that a module with settings alone never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.contracts.callback import Callback, StageInfo
    from engine.contracts.checkpoint_adapter import CheckpointAdapter
    from engine.contracts.clustering import Arrays, Clusterer, Embedder, check_vectors
    from engine.contracts.clustering_settings import ClustererSettings, EmbedderSettings
    from engine.contracts.command import Command
    from engine.contracts.compressor import (
        CompressionStep,
        Compressor,
        CompressorSettings,
        ModelFacts,
    )
    from engine.contracts.dataset import ActivationPoint, Dataset, DatasetSettings, Record
    from engine.contracts.description import Description, Difference, Fact, Table
    from engine.contracts.intervals import Interval, mover, wilson
    from engine.contracts.kinds import KINDS, Kind
    from engine.contracts.metric import Answers, Declaration, Metric, RetrievalRanks, Value
    from engine.contracts.optimizer import NamedParameter, OptimizerFactory
    from engine.contracts.plan import Plan, TensorPlan, TowerPlan
    from engine.contracts.preprocess import (
        CropPreprocess,
        PortablePreprocess,
        Preprocess,
        SquarePreprocess,
    )
    from engine.contracts.projection import Projection
    from engine.contracts.projection_settings import ProjectionSettings
    from engine.contracts.refs import (
        CallbackRef,
        ClustererRef,
        CompressorRef,
        DatasetRef,
        EmbedderRef,
        LoggerRef,
        LossRef,
        OptimizerRef,
        ProjectionRef,
        SamplerRef,
        StorageRef,
        TeacherRef,
        TextEncoderRef,
        TokenizerRef,
        VisionTowerRef,
    )
    from engine.contracts.settings import PluginRef, Settings
    from engine.contracts.state import (
        Output,
        Segment,
        State,
        last_place,
        pad_tokens,
        segments_of,
        take,
        take_place,
    )
    from engine.contracts.storage import (
        Storage,
        StorageSettings,
        StoredArray,
        StoredTensor,
    )
    from engine.contracts.teacher import Teacher, TeacherSettings
    from engine.contracts.tokenizer import Texts, Tokenizer, TokenizerSettings, Trimmed
    from engine.contracts.tower import TextEncoder, Tower, VisionTower
    from engine.contracts.tower_settings import (
        TextEncoderSettings,
        TowerSettings,
        VisionTowerSettings,
        WeightsSettings,
    )
    from engine.contracts.training import Epoch, Logger, Loss, Rows, RunInfo, Sampler
    from engine.contracts.training_settings import (
        CallbackSettings,
        LoggerSettings,
        LossSettings,
        OptimizerSettings,
        SamplerSettings,
    )
    from engine.contracts.values import Bytes, SourceName

_HOMES = {
    "clustering": ("Arrays", "Clusterer", "Embedder", "check_vectors"),
    "command": ("Command",),
    "compressor": ("Compressor", "CompressorSettings", "ModelFacts", "CompressionStep"),
    "dataset": ("ActivationPoint", "Dataset", "DatasetSettings", "Record"),
    "description": ("Description", "Difference", "Fact", "Table"),
    "callback": ("Callback", "StageInfo"),
    "checkpoint_adapter": ("CheckpointAdapter",),
    "intervals": ("Interval", "mover", "wilson"),
    "metric": ("Answers", "Declaration", "Metric", "RetrievalRanks", "Value"),
    "optimizer": ("NamedParameter", "OptimizerFactory"),
    "preprocess": (
        "CropPreprocess", "PortablePreprocess", "Preprocess", "SquarePreprocess",
    ),
    "plan": ("Plan", "TensorPlan", "TowerPlan"),
    "projection": ("Projection",),
    "kinds": ("KINDS", "Kind"),
    "clustering_settings": ("ClustererSettings", "EmbedderSettings"),
    "projection_settings": ("ProjectionSettings",),
    "refs": (
        "ClustererRef", "CompressorRef", "DatasetRef", "EmbedderRef", "LoggerRef", "LossRef",
        "CallbackRef", "OptimizerRef", "ProjectionRef", "SamplerRef", "StorageRef",
        "TeacherRef", "TextEncoderRef", "TokenizerRef", "VisionTowerRef",
    ),
    "settings": ("PluginRef", "Settings"),
    "tower_settings": (
        "TextEncoderSettings", "TowerSettings", "VisionTowerSettings",
        "WeightsSettings",
    ),
    "values": ("Bytes", "SourceName"),
    "state": (
        "Output", "Segment", "State", "last_place", "pad_tokens", "segments_of", "take",
        "take_place",
    ),
    "storage": ("Storage", "StorageSettings", "StoredArray", "StoredTensor"),
    "teacher": ("Teacher", "TeacherSettings"),
    "tokenizer": ("Texts", "Tokenizer", "TokenizerSettings", "Trimmed"),
    "tower": ("TextEncoder", "Tower", "VisionTower"),
    "training": ("Epoch", "Logger", "Loss", "Rows", "RunInfo", "Sampler"),
    "training_settings": (
        "CallbackSettings", "LoggerSettings", "LossSettings", "OptimizerSettings",
        "SamplerSettings",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "KINDS",
    "ActivationPoint",
    "Answers",
    "Arrays",
    "Bytes",
    "Callback",
    "CallbackRef",
    "CallbackSettings",
    "CheckpointAdapter",
    "Clusterer",
    "ClustererRef",
    "ClustererSettings",
    "Command",
    "CompressionStep",
    "Compressor",
    "CompressorRef",
    "CompressorSettings",
    "CropPreprocess",
    "Dataset",
    "DatasetRef",
    "DatasetSettings",
    "Declaration",
    "Description",
    "Difference",
    "Embedder",
    "EmbedderRef",
    "EmbedderSettings",
    "Epoch",
    "Fact",
    "Interval",
    "Kind",
    "Logger",
    "LoggerRef",
    "LoggerSettings",
    "Loss",
    "LossRef",
    "LossSettings",
    "Metric",
    "ModelFacts",
    "NamedParameter",
    "OptimizerFactory",
    "OptimizerRef",
    "OptimizerSettings",
    "Output",
    "Plan",
    "PluginRef",
    "PortablePreprocess",
    "Preprocess",
    "Projection",
    "ProjectionRef",
    "ProjectionSettings",
    "Record",
    "RetrievalRanks",
    "Rows",
    "RunInfo",
    "Sampler",
    "SamplerRef",
    "SamplerSettings",
    "Segment",
    "Settings",
    "SourceName",
    "SquarePreprocess",
    "StageInfo",
    "State",
    "Storage",
    "StorageRef",
    "StorageSettings",
    "StoredArray",
    "StoredTensor",
    "Table",
    "Teacher",
    "TeacherRef",
    "TeacherSettings",
    "TensorPlan",
    "TextEncoder",
    "TextEncoderRef",
    "TextEncoderSettings",
    "Texts",
    "Tokenizer",
    "TokenizerRef",
    "TokenizerSettings",
    "Tower",
    "TowerPlan",
    "TowerSettings",
    "Trimmed",
    "Value",
    "VisionTower",
    "VisionTowerRef",
    "VisionTowerSettings",
    "WeightsSettings",
    "check_vectors",
    "last_place",
    "mover",
    "pad_tokens",
    "segments_of",
    "take",
    "take_place",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

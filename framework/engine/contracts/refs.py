"""The types of settings that are themselves plugins, one for each kind that a config can name.

A reference knows the base of its settings and the contract of its class::

    class Mine(ProjectionSettings):
        of: ProjectionRef = {"use": "residual"}

    settings.of.settings        # a ProjectionSettings
    settings.of.create(8, 4)    # a Projection

The contracts are imported for type checkers alone, because most of them import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from engine.contracts.clustering_settings import ClustererSettings, EmbedderSettings
from engine.contracts.compressor import Compressor, CompressorSettings
from engine.contracts.dataset import Dataset, DatasetSettings
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.settings import PluginField, PluginRef
from engine.contracts.storage import Storage, StorageSettings
from engine.contracts.teacher import Teacher, TeacherSettings
from engine.contracts.tokenizer import TokenizerRef
from engine.contracts.tower_settings import TextEncoderSettings, VisionTowerSettings
from engine.contracts.training_settings import (
    CallbackSettings,
    LoggerSettings,
    LossSettings,
    OptimizerSettings,
    SamplerSettings,
)

if TYPE_CHECKING:
    from engine.contracts.callback import Callback
    from engine.contracts.clustering import Clusterer, Embedder
    from engine.contracts.optimizer import OptimizerFactory
    from engine.contracts.projection import Projection
    from engine.contracts.tower import TextEncoder, VisionTower
    from engine.contracts.training import Logger, Loss, Sampler

__all__ = [
    "CallbackRef",
    "ClustererRef",
    "CompressorRef",
    "DatasetRef",
    "EmbedderRef",
    "LoggerRef",
    "LossRef",
    "OptimizerRef",
    "ProjectionRef",
    "SamplerRef",
    "StorageRef",
    "TeacherRef",
    "TextEncoderRef",
    "TokenizerRef",
    "VisionTowerRef",
]

TextEncoderRef = Annotated[
    PluginRef[TextEncoderSettings, "TextEncoder"], PluginField("text_encoder")
]
VisionTowerRef = Annotated[
    PluginRef[VisionTowerSettings, "VisionTower"], PluginField("vision_tower")
]
ProjectionRef = Annotated[PluginRef[ProjectionSettings, "Projection"], PluginField("projection")]
EmbedderRef = Annotated[PluginRef[EmbedderSettings, "Embedder"], PluginField("embedder")]
ClustererRef = Annotated[PluginRef[ClustererSettings, "Clusterer"], PluginField("clusterer")]
DatasetRef = Annotated[PluginRef[DatasetSettings, Dataset], PluginField("dataset")]
LossRef = Annotated[PluginRef[LossSettings, "Loss"], PluginField("loss")]
SamplerRef = Annotated[PluginRef[SamplerSettings, "Sampler"], PluginField("sampler")]
LoggerRef = Annotated[PluginRef[LoggerSettings, "Logger"], PluginField("logger")]
StorageRef = Annotated[PluginRef[StorageSettings, Storage], PluginField("storage")]
TeacherRef = Annotated[PluginRef[TeacherSettings, Teacher], PluginField("teacher")]
CompressorRef = Annotated[PluginRef[CompressorSettings, Compressor], PluginField("compressor")]
OptimizerRef = Annotated[PluginRef[OptimizerSettings, "OptimizerFactory"], PluginField("optimizer")]
CallbackRef = Annotated[PluginRef[CallbackSettings, "Callback"], PluginField("callback")]

"""A model together with the clusters of its training texts: built, and read from an artifact."""

from __future__ import annotations

from pathlib import Path

from engine.clusters.pipeline import fit
from engine.clusters.store import Clusters, read
from engine.core import artifact
from engine.core.build import Built, build, read_artifact
from engine.core.config.schema import EngineConfig
from engine.core.model_path import model_folder
from engine.core.progress import Progress, silent, within
from engine.core.registry import Registry


def build_clustered(config: EngineConfig, progress: Progress = silent) -> Built:
    """Build a model in memory, and fit the clusters that its config asks for.

    Raises:
        EngineError: see ``engine.core.build.build`` and ``engine.clusters.fit``.
    """
    built = build(config, progress)
    if config.clusters is not None:
        clusters = fit(config, within(progress, "clusters"))
        built.clusters = clusters
        built.manifest["clusters"] = clusters.manifest()
    return built


def read_clustered(folder: Path | str, registry: Registry | None = None) -> Built:
    """Read an artifact, with its clusters where it has any.

    Raises:
        EngineError: see ``engine.core.build.read_artifact``; or the clusters are damaged.
    """
    folder = model_folder(Path(folder))
    built = read_artifact(folder, registry)
    if artifact.CLUSTERS in built.manifest["files"]:
        built.clusters = read(folder, registry)
    return built


def clusters_of(built: Built) -> Clusters | None:
    """The clusters that a model carries, ``None`` where it has none or they were not asked for."""
    return built.clusters if isinstance(built.clusters, Clusters) else None

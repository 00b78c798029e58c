"""Where fitted clusters go: into an artifact, or into a folder of their own."""

from __future__ import annotations

from pathlib import Path

from engine.clusters.report import page_of
from engine.clusters.store import Clusters
from engine.core import artifact
from engine.core.config import dump_config, load_config
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry, default_registry
from engine.errors import ArtifactError

FILES = (artifact.CLUSTERS, artifact.CLUSTERS_JSON, artifact.CLUSTERS_PAGE)


def check_destination(folder: Path, config: EngineConfig, registry: Registry | None = None) -> None:
    """Tell before the work that clusters of this config cannot be put there.

    Raises:
        ArtifactError: an artifact of another config; one that was trained, whose router knows other
            clusters; or a folder of something else.
    """
    if not artifact.is_artifact(folder):
        artifact.check_replaceable(folder)
        return
    manifest = artifact.read_manifest(folder)
    if manifest.get("stages"):
        raise ArtifactError(
            f"{folder} is a trained model: its router has learned the clusters that it has",
            hint="choose another folder with `-o`",
        )
    old = load_config(folder / artifact.CONFIG, registry=registry or default_registry())
    others = [name for name in EngineConfig.model_fields if name != "clusters"]
    differing = [name for name in others if getattr(old, name) != getattr(config, name)]
    if differing:
        raise ArtifactError(
            f"{folder} was built from another config: they differ in {', '.join(differing)}",
            hint="build it again (`engine build` fits the clusters too), or choose another folder"
            " with `-o`",
        )


def put(
    clusters: Clusters, folder: Path, config: EngineConfig, registry: Registry | None = None
) -> None:
    """Write clusters and their page, all or nothing.

    Into an artifact of the same config: it is then what a build of ``config`` would have written,
    its weights untouched. Anywhere else into a folder that holds nothing but clusters, which a
    later build may replace.

    Raises:
        ArtifactError: see :func:`check_place`.
    """
    check_destination(folder, config, registry)
    page = page_of(clusters, config.name)
    if not artifact.is_artifact(folder):
        with artifact.writing(folder) as temporary:
            clusters.write(temporary)
            (temporary / artifact.CLUSTERS_PAGE).write_text(page, encoding="utf-8")
        return
    manifest = {**artifact.read_manifest(folder), "clusters": clusters.manifest()}
    folder = folder.absolute()
    with artifact.amending(folder, manifest, (artifact.CONFIG, *FILES)) as temporary:
        clusters.write(temporary)
        (temporary / artifact.CLUSTERS_PAGE).write_text(page, encoding="utf-8")
        (temporary / artifact.CONFIG).write_text(dump_config(config), encoding="utf-8")

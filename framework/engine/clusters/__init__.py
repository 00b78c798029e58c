"""Clusters of meaning among the queries of the training data: fit, keep, show, assign.

    from engine.clusters import fit, read

    clusters = fit(config)                     # n-grams -> embedder -> clusterer
    clusters.write(folder)                     # clusters.safetensors and clusters.json
    read(folder).assign(["красный круг"])      # -> the cluster of each text, -1: nothing known

=============  ==========================================================================
module         what it does
=============  ==========================================================================
``ngrams``     the most frequent n-grams of a stream of texts, in bounded memory
``fit``        the pipeline
``names``      what tells a cluster's texts from the others'
``flatten``    a map of the texts in the plane
``store``      :class:`Clusters`, its two files, read without trust
``assign``     texts, lines and data sets to clusters, in batches
``building``   a model together with its clusters
``place``      into an artifact, or into a folder of their own
``report``     one HTML page
=============  ==========================================================================

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.clusters.assign import DatasetLabels, label_dataset
    from engine.clusters.building import build_clustered, clusters_of, read_clustered
    from engine.clusters.pipeline import fit, fit_texts
    from engine.clusters.store import Clusters, read

_HOME = {
    "build_clustered": "building",
    "clusters_of": "building",
    "read_clustered": "building",
    "Clusters": "store",
    "DatasetLabels": "assign",
    "fit": "pipeline",
    "fit_texts": "pipeline",
    "label_dataset": "assign",
    "read": "store",
}
__all__ = [
    "Clusters",
    "DatasetLabels",
    "build_clustered",
    "clusters_of",
    "fit",
    "fit_texts",
    "label_dataset",
    "read",
    "read_clustered",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

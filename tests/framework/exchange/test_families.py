"""`engine import` of every family by one name, and what a wrong folder of each is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from engine.core.build import Built, read_artifact, save
from engine.core.size import config_size
from engine.errors import EngineError
from engine.evaluate.predictor import Predictor
from engine.exchange.by_name import import_source

from . import families
from . import foreign_folders as foreign
from .conftest import HubCache

TEXTS = ["красный кот", "a photo of a dog", "дом и река ночью"]


def imported(folder: Path, **options: Any) -> Built:
    built = import_source(f"file:{folder}", **options)
    report = save(built, folder.with_name("artifact"))
    assert report.total == config_size(built.config).total
    return read_artifact(folder.with_name("artifact"))


@pytest.mark.parametrize("kind", ["xlm", "nllb"])
def test_open_clip_over_an_encoder_of_the_hub(
    kind: str, tmp_path: Path, hub_cache: HubCache
) -> None:
    config = families.encoder(tmp_path / "encoder", kind)
    hub_cache(f"tiny/{kind}", tmp_path / "encoder")
    original = families.open_clip_of_encoder(tmp_path / "model", kind, config)
    built = imported(tmp_path / "model")
    assert built.config.model.text.name == {"xlm": "xlm_roberta", "nllb": "nllb"}[kind]
    rows = built.tokenizer.encode(TEXTS, families.LONGEST)
    ids = torch.full((len(rows), families.LONGEST), 1)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    with torch.no_grad():
        right = original.encode_text(ids, normalize=True)
    np.testing.assert_allclose(Predictor(built).encode_texts(TEXTS), right, atol=1e-5)


def test_m_clip_beside_openai_s_vision_tower(tmp_path: Path, hub_cache: HubCache) -> None:
    config = families.encoder(tmp_path / "encoder", "xlm")
    hub_cache("tiny/xlm", tmp_path / "encoder")
    model, linear = families.m_clip(tmp_path / "model", config)
    foreign.openai(tmp_path / "images")
    built = imported(tmp_path / "model", vision=f"file:{tmp_path / 'images'}")
    rows = built.tokenizer.encode(TEXTS, 64)
    with torch.no_grad():
        right = [
            normalize(linear(model(torch.tensor([row]))[0].mean(dim=1)), dim=-1)[0] for row in rows
        ]
    np.testing.assert_allclose(Predictor(built).encode_texts(TEXTS), torch.stack(right), atol=1e-5)


def test_a_static_encoder_beside_a_vision_tower(tmp_path: Path) -> None:
    pytest.importorskip("model2vec")
    from ...plugins.text.test_static import folder_of

    folder, theirs = folder_of(tmp_path / "model", "wordpiece", factors=True)
    foreign.openai(tmp_path / "images", embed_dim=24)
    built = imported(folder, vision=f"file:{tmp_path / 'images'}")
    assert built.config.model.text.name == "static"
    right = theirs.encode(TEXTS)
    np.testing.assert_allclose(Predictor(built).encode_texts(TEXTS), right, atol=1e-5)


change = foreign.change
Wrong = tuple[Callable[[Path], Any], Callable[[Path], Any], str]
SIGLIP2 = partial(families.siglip, second=True)
WRONG: dict[str, Wrong] = {
    "SigLIP: heads": (
        families.siglip,
        lambda f: change(f / "config.json", text_config__num_attention_heads=5),
        "not a multiple of heads 5",
    ),
    "SigLIP: heads of the vision tower": (
        families.siglip,
        lambda f: change(f / "config.json", vision_config__num_attention_heads=7),
        "not a multiple of heads 7",
    ),
    "SigLIP: activation": (
        families.siglip,
        lambda f: change(f / "config.json", text_config__hidden_act="relu"),
        "`hidden_act` is 'relu'",
    ),
    "SigLIP: tokenizer": (
        families.siglip,
        lambda f: change(f / "tokenizer_config.json", tokenizer_class="BarkTokenizer"),
        "BarkTokenizer.*no installed tokenizer",
    ),
    "SigLIP: no vocabulary": (
        families.siglip, lambda f: (f / "spiece.model").unlink(), "spiece.model|no tokenizer",
    ),
    "SigLIP: no weights": (
        families.siglip, lambda f: (f / "model.safetensors").unlink(), "none of the files wanted",
    ),
    "SigLIP 2: padding before a text": (
        SIGLIP2, lambda f: change(f / "tokenizer_config.json", padding_side="left"),
        "`padding_side` is 'left'",
    ),
    "SigLIP of open_clip: activation": (
        families.open_clip_siglip,
        lambda f: change(f / "open_clip_config.json",
                         model_cfg__text_cfg__act_kwargs={"approximate": "other"}),
        "act_kwargs",
    ),
    "SigLIP of open_clip: heads": (
        families.open_clip_siglip,
        lambda f: change(f / "open_clip_config.json", model_cfg__text_cfg__heads=5),
        "not a multiple of heads 5",
    ),
    "MobileCLIP: heads": (
        families.mobileclip,
        lambda f: change(f / "open_clip_config.json", model_cfg__text_cfg__heads=5),
        "not a multiple of heads 5",
    ),
    "MobileCLIP: a model that timm has not": (
        families.mobileclip,
        lambda f: change(f / "open_clip_config.json",
                         model_cfg__vision_cfg__timm_model_name="fastvit_t9"),
        "timm has no model `fastvit_t9`",
    ),
    "MobileCLIP: no description": (
        families.mobileclip, lambda f: (f / "open_clip_config.json").unlink(),
        "none of the files wanted|nothing in",
    ),
    "TinyCLIP: width": (
        foreign.clip,
        lambda f: change(f / "config.json", vision_config__hidden_size=32),
        "does not fit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_folder_is_refused_by_name(case: str, tmp_path: Path) -> None:
    write, spoil, reason = WRONG[case]
    write(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'model'}")


OF_ENCODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "pooling": ("xlm", {"model_cfg__text_cfg__hf_pooler_type": "max_pooler"}, "hf_pooler_type"),
    "projection": ("nllb", {"model_cfg__text_cfg__hf_proj_type": "cubic"}, "hf_proj_type"),
    "encoder": ("xlm", {"model_cfg__text_cfg__hf_model_name": "tiny/none"},
                "no installed text encoder"),
    "layers": ("nllb", {"model_cfg__embed_dim": 24}, "does not fit|shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(OF_ENCODERS))
def test_a_wrong_encoder_of_open_clip(case: str, tmp_path: Path, hub_cache: HubCache) -> None:
    kind, changes, reason = OF_ENCODERS[case]
    config = families.encoder(tmp_path / "encoder", kind)
    hub_cache(f"tiny/{kind}", tmp_path / "encoder")
    families.open_clip_of_encoder(tmp_path / "model", kind, config)
    change(tmp_path / "model" / "open_clip_config.json", **changes)
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'model'}")


OF_M_CLIP: dict[str, tuple[dict[str, Any], str]] = {
    "encoder": ({"modelBase": "xlm-roberta-huge"}, "`modelBase` is 'xlm-roberta-huge'"),
    "width": ({"transformerDimensions": 1024}, "`transformerDimensions` is 1024"),
    "joint space": ({"numDims": 32}, r"\(texts\) 32"),
}


@pytest.mark.parametrize("case", list(OF_M_CLIP))
def test_a_wrong_folder_of_m_clip(case: str, tmp_path: Path, hub_cache: HubCache) -> None:
    changes, reason = OF_M_CLIP[case]
    config = families.encoder(tmp_path / "encoder", "xlm")
    hub_cache("tiny/xlm", tmp_path / "encoder")
    families.m_clip(tmp_path / "model", config)
    foreign.openai(tmp_path / "images")
    change(tmp_path / "model" / "config.json", **changes)
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'model'}", vision=f"file:{tmp_path / 'images'}")


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("config.json", {"pooling": "max"}, "`pooling` is 'max'"),
        ("config.json", {"hidden_dim": 48}, r"\(texts\) 48"),
        ("tokenizer.json", None, "no tokenizer.json"),
    ],
)
def test_a_wrong_static_folder(
    file: str, changes: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    pytest.importorskip("model2vec")
    from ...plugins.text.test_static import folder_of

    folder, _ = folder_of(tmp_path / "model", "wordpiece")
    foreign.openai(tmp_path / "images", embed_dim=24)
    if changes is None:
        (folder / file).unlink()
    else:
        change(folder / file, **changes)
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{folder}", vision=f"file:{tmp_path / 'images'}")

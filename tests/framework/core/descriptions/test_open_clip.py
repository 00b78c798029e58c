"""open_clip's folders, its packaged descriptions, OpenAI's own files, and ruCLIP's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import engine.core.weights.sources
from engine.contracts.description import TextEnd
from engine.errors import WeightsError
from engine.exchange.importing import import_checkpoint
from engine_plugins import clip_archs

from .loading import TEXT, VISION, config, load, shaken, stored

VISION_CFG = {"width": 64, "layers": 2, "head_width": 64, "patch_size": 8, "image_size": 16}
TEXT_CFG = {"width": 64, "layers": 2, "heads": 4, "context_length": 12, "vocab_size": 60}
MODEL_CFG = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VISION_CFG, "text_cfg": TEXT_CFG}


def model() -> Any:
    torch.manual_seed(1)
    return shaken(open_clip.CLIP(16, VISION_CFG, TEXT_CFG, quick_gelu=True))


def folder(path: Path, change: dict[str, Any] | None = None, side: str = "", **top: Any) -> Path:
    """A folder as ``open_clip.push_to_hf_hub`` leaves it."""
    save_file(stored(model()), path / "open_clip_model.safetensors")
    described = json.loads(json.dumps({**MODEL_CFG, **top}))
    if side:
        described[f"{side}_cfg"] |= change or {}
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": described, "preprocess_cfg": {}})
    )
    return path


def loaded(source: object, side: str, end: TextEnd | None = None, **own: Any) -> Any:
    weights = {"weights": {"from": f"file:{source}"}, **own}
    settings = config(weights if side == "vision" else None, weights if side == "text" else None)
    return load(settings, side, end)


BOTH = [
    {"act_kwargs": {"approximate": "tanh"}}, {"norm_kwargs": {"eps": 1e-3}},
    {"ls_init_value": 1e-4}, {"qk_norm": True}, {"scale_attn": True}, {"scale_heads": True},
    {"scaled_cosine_attn": True}, {"scale_attn_inner": True}, {"scale_fc": True},
    {"block_type": "custom"}, {"some_new_pooling": "map"}, {"attn_softcap": 30.0},
]  # fmt: skip
CHANGES = (
    [("vision", change) for change in BOTH]
    + [("text", change) for change in BOTH]
    + [("vision", {"head_width": 32}), ("vision", {"pool_type": "avg"}),
       ("vision", {"no_ln_pre": True}), ("vision", {"attentional_pool": True}),
       ("vision", {"pos_embed_type": "sin_cos_2d"}), ("vision", {"image_size": 20}),
       ("vision", {"timm_model_name": "vit_tiny_patch16_224"}), ("vision", {"layers": [1, 1]})]
    + [("text", {"heads": 2}), ("text", {"heads": 8}), ("text", {"no_causal_mask": True}),
       ("text", {"pool_type": "last"}), ("text", {"pool_type": "first"}),
       ("text", {"embed_cls": True}), ("text", {"proj_bias": True}),
       ("text", {"proj_type": "none"}), ("text", {"hf_model_name": "bert-base"})]
)  # fmt: skip


@pytest.mark.parametrize(("side", "change"), CHANGES)
def test_open_clip_is_refused(side: str, change: dict[str, Any], tmp_path: Path) -> None:
    folder(tmp_path, change, side)
    with pytest.raises(WeightsError, match=r"open_clip_config\.json") as caught:
        loaded(tmp_path, side)
    value = next(iter(change.values()))
    if not isinstance(value, (list, bool)) and "name" not in next(iter(change)):
        assert f"`{next(iter(change))}` is {value!r}" in caught.value.message


@pytest.mark.parametrize("side", ["vision", "text"])
@pytest.mark.parametrize(("own", "theirs"), [(True, False), (False, True), (True, None)])
def test_quick_gelu_of_a_folder(side: str, own: bool, theirs: bool | None, tmp_path: Path) -> None:
    folder(tmp_path, quick_gelu=theirs)
    if theirs is None:
        path = tmp_path / "open_clip_config.json"
        described = json.loads(path.read_text())
        del described["model_cfg"]["quick_gelu"]
        path.write_text(json.dumps(described))
    with pytest.raises(WeightsError, match=r"`quick_gelu` is false|`quick_gelu` is true"):
        loaded(tmp_path, side, quick_gelu=own)
    with pytest.raises(WeightsError, match="quick_gelu"):
        import_checkpoint(tmp_path, config({"quick_gelu": own}, {"quick_gelu": own}))


HARMLESS = [
    ("vision", {"patch_dropout": 0.5, "output_tokens": True, "attn_pooler_heads": 4}),
    ("vision", {"final_ln_after_pool": True, "timm_pool": "avg", "timm_proj": "linear"}),
    ("text", {"pad_id": 7, "eos_id": 5, "final_ln_after_pool": True, "hf_pooler_type": "cls"}),
    ("text", {"norm_kwargs": {"eps": 1e-5}, "act_kwargs": {}, "block_type": "default"}),
]


@pytest.mark.parametrize(("side", "change"), [("vision", {}), ("text", {}), *HARMLESS])
def test_what_agrees_gives_open_clip_s_own_numbers(
    side: str, change: dict[str, Any], tmp_path: Path
) -> None:
    folder(tmp_path, change, side)
    origin, ours = loaded(tmp_path, side)
    assert origin.warnings == ()
    theirs = model()
    with torch.no_grad():
        if side == "vision":
            pixels = torch.randn(2, 3, 16, 16)
            found = ours.vision({"pixels": pixels})["pooled"]
            expected = theirs.encode_image(pixels)
        else:
            ids = torch.tensor([[3, 4, 5, 59], [9, 8, 7, 59]])
            found = ours.text({"ids": ids, "mask": torch.ones_like(ids, dtype=torch.bool)})
            found = found["pooled"]
            padded = torch.nn.functional.pad(ids, (0, 8))
            expected = theirs.encode_text(padded)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "mark", "largest", "fits"),
    [
        ({}, 59, True, True),
        ({}, 3, False, False),
        ({}, None, False, False),
        ({"pool_type": "eos", "eos_id": 3}, 3, False, True),
        ({"pool_type": "eos", "eos_id": 3}, 59, True, False),
        ({"pool_type": "eos"}, 3, False, False),  # 2 by open_clip's default
    ],
)
def test_where_a_text_ends(
    change: dict[str, Any], mark: int | None, largest: bool, fits: bool, tmp_path: Path
) -> None:
    folder(tmp_path, change, "text")
    if fits:
        loaded(tmp_path, "text", TextEnd(mark, largest))
    else:
        with pytest.raises(WeightsError, match="pools a text at"):
            loaded(tmp_path, "text", TextEnd(mark, largest))


# --- open_clip:ARCH/TAG -------------------------------------------------------------------------

TAGS = [("ViT-B-32", "openai", True), ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-B-16", "openai", True), ("ViT-L-14-336", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False), ("ViT-B-16", "dfn2b", True),
        ("ViT-B-32-quickgelu", "laion400m_e32", True), ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-L-14", "metaclip_400m", True)]  # fmt: skip


@pytest.mark.parametrize(("arch", "tag", "quick"), TAGS)
@pytest.mark.parametrize("side", ["vision", "text"])
def test_open_clip_s_own_record_is_held_against_the_config(
    arch: str, tag: str, quick: bool, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights themselves are not read: what is said of them is."""
    monkeypatch.setattr("engine.core.build.fetch", lambda *_: {})
    source = {"weights": {"from": f"open_clip:{arch}/{tag}"}, "arch": arch, "layers": 1}
    described = {"use": "openai_clip", **source}
    right = config(**{side: described})
    assert getattr(right.model, side).settings.quick_gelu is quick
    with pytest.raises(WeightsError, match="do not fit"):  # there are none: it got that far
        load(right, side)
    with pytest.raises(WeightsError, match=f"`quick_gelu` is {str(quick).lower()}"):
        load(config(**{side: {**described, "quick_gelu": not quick}}), side)
    with pytest.raises(WeightsError, match="head"):
        load(config(**{side: {**described, "heads": 1}}), side)


@pytest.mark.parametrize(
    ("source", "quick"),
    [
        ("hf:openai/clip-vit-base-patch32", True), ("hf:openai/clip-vit-large-patch14-336", True),
        ("hf:openai/clip-vit-base-patch16@main", True),
        ("hf:timm/vit_base_patch32_clip_224.openai", True),
        ("hf:timm/vit_base_patch32_clip_quickgelu_224.openai", True),
        ("hf:timm/vit_large_patch14_clip_336.openai", True),
        ("hf:timm/vit_base_patch16_clip_224.metaclip_400m", True),
        ("hf:facebook/metaclip-b32-400m", True), ("hf:apple/DFN2B-CLIP-ViT-B-16", True),
        ("hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", False),
        ("hf:timm/vit_base_patch32_clip_224.laion2b", False),
        ("hf:somebody/clip", False), ("scratch", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["vision", "text"])
def test_known_repositories_of_the_hub(source: str, quick: bool, side: str) -> None:
    assert clip_archs.quick_gelu("ViT-B-32", source) is quick
    own = {"use": "openai_clip", "arch": "ViT-B-32", "weights": {"from": source}}
    assert getattr(config(**{side: own}).model, side).settings.quick_gelu is quick


@pytest.mark.parametrize(
    ("name", "values", "quick"),
    [
        ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}, True),
        ("open_clip_config.json", {"model_cfg": {}}, False),
        ("config.json", {"model_type": "clip", "text_config": {}, "vision_config": {}}, True),
        ("config.json", {"model_type": "clip"}, True),
        ("config.json", {"model_type": "clip", "text_config": {"hidden_act": "gelu"},
                         "vision_config": {"hidden_act": "gelu"}}, False),
        ("config.json", {"model_type": "clip_text_model"}, True),
        ("config.json", {"model_type": "clip_vision_model", "hidden_act": "gelu"}, False),
        ("config.json", {"model_type": "bert", "hidden_act": "gelu"}, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_file", [True, False])
def test_a_folder_says_which_activation(
    name: str, values: Any, quick: bool, as_file: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(json.dumps(values))
    (tmp_path / "model.safetensors").write_bytes(b"")
    source = tmp_path / "model.safetensors" if as_file else tmp_path
    assert clip_archs.quick_gelu("ViT-B-32", f"file:{source}") is quick


# --- OpenAI's own files -------------------------------------------------------------------------


def openai_file(path: Path, size: int = 16) -> Path:
    numbers = {"input_resolution": size, "context_length": 12, "vocab_size": 60}
    tensors = stored(model()) | {n: torch.tensor(v) for n, v in numbers.items()}
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("side", ["vision", "text"])
@pytest.mark.parametrize("by", ["from", "import"])
def test_openai_s_numbers_give_its_file_away(side: str, by: str, tmp_path: Path) -> None:
    path = openai_file(tmp_path / "openai.pt")
    wrong = {"quick_gelu": False}
    with pytest.raises(WeightsError, match=r"`hidden_act` is 'quick_gelu'.*OpenAI's"):
        if by == "from":
            loaded(path, side, **wrong)
        else:
            import_checkpoint(path, identity(**{side: wrong}))
    if by == "from":
        assert loaded(path, side)[0].warnings == ()


def test_openai_s_picture_size(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="`input_resolution` is 20"):
        loaded(openai_file(tmp_path / "openai.pt", 20), "vision")


@pytest.mark.parametrize("side", ["vision", "text"])
@pytest.mark.parametrize("quick", [True, False])
def test_a_file_alone_leaves_the_activation_open(side: str, quick: bool, tmp_path: Path) -> None:
    save_file(stored(model()), tmp_path / "x.safetensors")
    origin, _ = loaded(tmp_path / "x.safetensors", side, quick_gelu=quick)
    (said,) = origin.warnings
    assert f"`quick_gelu: {str(quick).lower()}`" in said
    assert "OpenAI" in said


def identity(**sides: Any) -> Any:
    return config(sides.get("vision"), sides.get("text"))


# --- ruCLIP -------------------------------------------------------------------------------------

RUCLIP = {
    "embed_dim": 16, "image_resolution": 16, "vision_layers": 2, "vision_width": 64,
    "vision_patch_size": 8, "context_length": 12, "vocab_size": 60, "transformer_width": 64,
    "transformer_heads": 4, "transformer_layers": 2,
}  # fmt: skip


def ruclip_folder(path: Path, **change: Any) -> Path:
    torch.save(stored(model()), path / "pytorch_model.bin")
    (path / "config.json").write_text(json.dumps({**RUCLIP, **change}))
    return path


@pytest.mark.parametrize("name", ["openai_clip", "ruclip"])
@pytest.mark.parametrize(
    ("side", "change", "own", "said"),
    [
        ("text", {"transformer_heads": 8}, {}, "`transformer_heads` is 8"),
        ("text", {}, {"heads": 2}, "`transformer_heads` is 4"),
        ("text", {}, {"quick_gelu": False}, "hidden_act"),
        ("vision", {"vision_width": 128}, {}, "`vision_width` is 128"),
        ("vision", {}, {"heads": 4}, "`vision_width` is 64"),
        ("vision", {"image_resolution": 20}, {}, "`image_resolution` is 20"),
        ("vision", {}, {"quick_gelu": False}, "hidden_act"),
    ],
)
def test_ruclip_is_refused(
    name: str, side: str, change: Any, own: Any, said: str, tmp_path: Path
) -> None:
    ruclip_folder(tmp_path, **change)
    base = {**(VISION if side == "vision" else TEXT), "use": name, **own}
    with pytest.raises(WeightsError, match=said):
        load(config(**{side: {**base, "weights": {"from": f"file:{tmp_path}"}}}), side)


@pytest.mark.parametrize("side", ["vision", "text"])
def test_ruclip_that_agrees(side: str, tmp_path: Path) -> None:
    ruclip_folder(tmp_path)
    base = {**(VISION if side == "vision" else TEXT), "use": "ruclip"}
    base |= {"weights": {"from": f"file:{tmp_path}"}}
    assert load(config(**{side: base}), side)[0].warnings == ()
    if side == "vision":
        ruclip_folder(tmp_path, mean=[0.1, 0.2, 0.3])
        assert "`mean` is [0.1, 0.2, 0.3]" in load(config(vision=base), side)[0].warnings[0]


def test_a_repository_with_an_image_model_beside_clip(tmp_path: Path) -> None:
    """As timm's copies of OpenAI's: CLIP's own towers take CLIP's own file and description."""
    folder(tmp_path)
    save_file({"blocks.0.attn.qkv.weight": torch.ones(3, 3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    for side in ("vision", "text"):
        assert loaded(tmp_path, side)[0].initialised == "loaded"
    assert engine.core.weights.sources.fetch(f"file:{tmp_path}", "vision").keys() == {
        "blocks.0.attn.qkv.weight"
    }

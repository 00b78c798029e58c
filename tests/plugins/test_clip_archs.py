"""The tables of CLIP's architectures, held to open_clip's own files, models and list of weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.model import _build_text_tower, _build_vision_tower
from open_clip.transform import PreprocessCfg

from engine.contracts import PluginRef
from engine.core.size import plan_of_module, tower_plan
from engine_plugins import clip_archs

MakeUse = Callable[..., PluginRef]


def is_plain(numbers: Callable[[str], dict[str, Any]], arch: str) -> bool:
    try:
        numbers(arch)
    except ValueError:
        return False
    return True


ARCHS = clip_archs.arch_names()
PLAIN_TEXT = [arch for arch in ARCHS if is_plain(clip_archs.text_numbers, arch)]
PLAIN_VISION = [arch for arch in ARCHS if is_plain(clip_archs.vision_numbers, arch)]
WEIGHTS = open_clip.list_pretrained()


def test_the_table_of_a_light_installation_is_open_clips() -> None:
    assert list(clip_archs._table()) == sorted(ARCHS)
    assert all(clip_archs._table()[arch] == clip_archs._read(arch) for arch in ARCHS)


def test_the_names_are_open_clips() -> None:
    assert list(ARCHS) == sorted(open_clip.list_models())
    assert len(PLAIN_TEXT) > 80
    assert len(PLAIN_VISION) > 40
    for arch in ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-g-14"):
        assert arch in PLAIN_TEXT
        assert arch in PLAIN_VISION


def test_no_torch_and_no_open_clip_is_imported_to_read_them() -> None:
    code = (
        "import sys; from engine_plugins import clip_archs; clip_archs.text_numbers('ViT-L-14');"
        "print([m for m in ('torch', 'open_clip', 'numpy', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("arch", PLAIN_TEXT)
def test_a_plain_text_tower_has_open_clips_tensors(arch: str, make_use: MakeUse) -> None:
    config = open_clip.get_model_config(arch)
    given = {"tokenizer": {"use": "clip_bpe"}} if clip_archs.text_tokenizer(arch) else {}
    use = make_use("text_encoder", "openai_clip", arch=arch, **given)
    with torch.device("meta"):
        theirs = _build_text_tower(config["embed_dim"], config["text_cfg"])
    plan = use.settings.plan()
    assert plan is not None
    assert plan.tensors == plan_of_module(theirs)
    assert plan.width == theirs.output_dim
    assert tower_plan(use, meta=True) == plan
    assert (use.settings.max_tokens, use.settings.heads) == (theirs.context_length, theirs.heads)
    assert theirs.attn_mask is not None, "it is causal"


@pytest.mark.slow
@pytest.mark.parametrize("arch", PLAIN_VISION)
def test_a_plain_vision_tower_has_open_clips_tensors(arch: str, make_use: MakeUse) -> None:
    config = open_clip.get_model_config(arch)
    use = make_use("vision_tower", "openai_clip", arch=arch)
    with torch.device("meta"):
        theirs = _build_vision_tower(config["embed_dim"], config["vision_cfg"])
    plan = use.settings.plan()
    assert plan is not None
    assert plan.tensors == plan_of_module(theirs)
    assert plan.width == theirs.output_dim
    assert tower_plan(use, meta=True) == plan
    assert theirs.image_size == (use.settings.image_size,) * 2
    assert theirs.transformer.resblocks[0].attn.num_heads == use.settings.heads


@pytest.mark.parametrize("arch", sorted(set(ARCHS) - set(PLAIN_TEXT)))
def test_other_text_towers_are_refused(arch: str) -> None:
    with pytest.raises(ValueError, match=f"`{arch}`") as caught:
        clip_archs.text_numbers(arch)
    text = open_clip.get_model_config(arch)["text_cfg"]
    if "hf_model_name" in text:
        assert f"`{text['hf_model_name']}`" in str(caught.value)
        assert "engine plugins text_encoder" in str(caught.value)
    else:
        assert "not CLIP's plain transformer" in str(caught.value)
        assert "ViT-B-32-quickgelu" in str(caught.value)


@pytest.mark.parametrize("arch", sorted(set(ARCHS) - set(PLAIN_VISION)))
def test_other_vision_towers_are_refused(arch: str) -> None:
    with pytest.raises(ValueError, match=f"`{arch}`") as caught:
        clip_archs.vision_numbers(arch)
    vision = open_clip.get_model_config(arch)["vision_cfg"]
    message = str(caught.value)
    if "timm_model_name" in vision:
        assert f"{{use: timm, arch: {vision['timm_model_name']}}}" in message
        assert timm.is_model(vision["timm_model_name"])
    elif isinstance(vision["layers"], list):
        assert "{use: resnet50}" in message
    else:
        assert "not CLIP's plain transformer" in message
        assert "ViT-B-32-quickgelu" in message


def test_a_wrong_name_is_reported_the_nearest() -> None:
    for numbers in (clip_archs.text_numbers, clip_archs.vision_numbers):
        with pytest.raises(ValueError, match=r"no architecture `vit-b-31`.*mean `ViT-B-3"):
            numbers("vit-b-31")


@pytest.mark.parametrize(("arch", "tag"), WEIGHTS)
def test_quick_gelu_is_what_the_weights_were_trained_with(arch: str, tag: str) -> None:
    config = open_clip.get_model_config(arch)
    listed = open_clip.get_pretrained_cfg(arch, tag).get("quick_gelu", False)
    # The file of roberta-ViT-B-32 says QuickGELU, the list forgets to: the file built the weights.
    expected = listed or config.get("quick_gelu", False)
    source = f"open_clip:{arch}/{tag}"
    assert clip_archs.quick_gelu(arch, source) == expected
    # The weights decide also where the config names another architecture's file.
    other = arch.removesuffix("-quickgelu")
    assert clip_archs.quick_gelu(other, source) == expected
    if other != arch or not expected:
        assert clip_archs.quick_gelu(arch, "scratch") == config.get("quick_gelu", False)


@pytest.mark.parametrize(("arch", "tag"), [pair for pair in WEIGHTS if pair[0] in PLAIN_VISION])
def test_pictures_are_prepared_as_the_weights_want_them(
    arch: str, tag: str, make_use: MakeUse
) -> None:
    wanted = asdict(PreprocessCfg()) | open_clip.get_pretrained_cfg(arch, tag)
    weights = {"from": f"open_clip:{arch}/{tag}"}
    settings: Any = make_use("vision_tower", "openai_clip", arch=arch, weights=weights).settings
    assert settings.mean == tuple(wanted["mean"])
    assert settings.std == tuple(wanted["std"])
    assert settings.interpolation == wanted["interpolation"]
    names = {"shorter_side": "shortest", "squash": "squash"}
    assert names[settings.resize] == wanted["resize_mode"]
    assert settings.quick_gelu == clip_archs.quick_gelu(arch, weights["from"])


def test_numbers_in_the_config_win(make_use: MakeUse) -> None:
    own = {"layers": 3, "quick_gelu": False, "resize": "squash", "mean": (0.5, 0.5, 0.5)}
    weights = {"from": "open_clip:ViT-L-14/openai"}
    use = make_use("vision_tower", "openai_clip", arch="ViT-L-14", weights=weights, **own)
    settings: Any = use.settings
    assert (settings.layers, settings.width) == (3, 1024)
    assert settings.quick_gelu is False
    assert (settings.resize, settings.mean) == ("squash", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    "source",
    ["scratch", "hf:openai/x", "open_clip:", "open_clip:ViT-B-32", "open_clip:/x", "open_clip:q/x"],
)
def test_sources_that_name_no_weights_of_open_clip(source: str) -> None:
    assert clip_archs.quick_gelu("ViT-B-32-quickgelu", source)
    assert not clip_archs.quick_gelu("ViT-B-32", source)
    assert clip_archs.picture_settings(source) == {}

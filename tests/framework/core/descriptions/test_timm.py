"""timm's repositories, as timm itself writes them, and pictures of every program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from engine.contracts import SquarePreprocess
from engine.contracts.description import Description
from engine.core.descriptions.pictures import PICTURES, picture_differences, picture_kind
from engine.errors import WeightsError

from .loading import config, load, stored

ARCHS = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


def folder(path: Path, arch: str, **change: Any) -> Path:
    """A repository of timm's, with changes to its ``config.json``."""
    torch.manual_seed(0)
    save_for_hf(
        timm.create_model(arch, pretrained=False, num_classes=7), path, safe_serialization=True
    )
    described = path / "config.json"
    values = json.loads(described.read_text())
    inner = change.pop("pretrained_cfg", {})
    values["pretrained_cfg"] |= inner
    described.write_text(json.dumps(values | change))
    return path


def loaded(path: Path, arch: str, **own: Any) -> Any:
    tower = {"use": "timm", "arch": arch, "weights": {"from": f"file:{path}"}, **own}
    return load(config(vision=tower), "vision")


@pytest.mark.parametrize("arch", ARCHS)
def test_what_timm_saves_is_loaded(arch: str, tmp_path: Path) -> None:
    folder(tmp_path, arch)
    origin, model = loaded(tmp_path, arch)
    assert origin.warnings == ()
    theirs = timm.create_model(arch, num_classes=7)
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))
    size = model.vision.preprocess.size
    pixels = torch.randn(1, 3, size, size)
    with torch.no_grad():
        expected = theirs.eval().forward_head(theirs.forward_features(pixels), pre_logits=True)
        found = model.vision({"pixels": pixels})["pooled"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "change", "said"),
    [
        ("test_resnet", {"architecture": "test_resnet2"}, "`architecture` is 'test_resnet2'"),
        ("test_vit", {"global_pool": "map"}, "`global_pool` is 'map'"),
        ("test_vit", {"model_args": {"act_layer": "relu"}}, "model_args.act_layer"),
        ("test_vit", {"model_args": {"norm_layer": "rmsnorm"}}, "model_args.norm_layer"),
        ("test_vit", {"model_args": {"qk_norm": True}}, "model_args.qk_norm"),
        ("test_vit", {"model_args": {"init_values": 1e-5}}, "model_args.init_values"),
        ("test_vit", {"pretrained_cfg": {"input_size": [3, 999, 999], "fixed_input_size": True}},
         "`input_size` is"),
        ("test_resnet", {"model_args": {"output_stride": 8}}, "model_args.output_stride"),
    ],
)  # fmt: skip
def test_timm_is_refused(arch: str, change: Any, said: str, tmp_path: Path) -> None:
    folder(tmp_path, arch, **change)
    with pytest.raises(WeightsError) as caught:
        loaded(tmp_path, arch)
    assert said in caught.value.message, caught.value.message


@pytest.mark.parametrize("arguments", [{"num_classes": 5}, {"drop_rate": 0.1}, {"img_size": 160}])
def test_arguments_that_change_no_features(arguments: Any, tmp_path: Path) -> None:
    folder(tmp_path, "test_vit", model_args=arguments)
    loaded(tmp_path, "test_vit")


CLIP = "vit_base_patch32_clip_224"
QUICK = "vit_base_patch32_clip_quickgelu_224"


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's CLIP towers with one block of width 24: their names and records are the real ones."""
    create = timm.create_model

    def small(name: str, **options: Any) -> Any:
        more = {"depth": 1, "embed_dim": 24, "num_heads": 2} if "clip" in name else {}
        return create(name, **{**options, **more})

    monkeypatch.setattr(timm, "create_model", small)


def clip_folder(path: Path, arch: str, tag: str, notes: Any = None) -> Path:
    save_file(stored(timm.create_model(arch, num_classes=0)), path / "model.safetensors")
    own = {"tag": tag} | ({"notes": notes} if notes else {})
    (path / "config.json").write_text(json.dumps({"architecture": arch, "pretrained_cfg": own}))
    return path


NATIVE = ["natively QuickGELU, use quickgelu model variant for original results"]


@pytest.mark.usefixtures("small_clip")
@pytest.mark.parametrize(
    ("stored_arch", "tag", "notes", "arch", "fits"),
    [
        (CLIP, "openai", None, CLIP, False),
        (CLIP, "openai", None, QUICK, True),
        (CLIP, "metaclip_400m", None, CLIP, False),
        (CLIP, "laion400m_e32", None, CLIP, False),
        (CLIP, "laion2b", None, CLIP, True),
        (CLIP, "laion2b", None, QUICK, False),
        (QUICK, "own", None, QUICK, True),
        (QUICK, "own", None, CLIP, False),
        (CLIP, "own", NATIVE, CLIP, False),
        (CLIP, "own", NATIVE, QUICK, True),
        (CLIP, "own", None, CLIP, True),
    ],
)
def test_openai_s_weights_in_timm_s_form(
    stored_arch: str, tag: str, notes: Any, arch: str, fits: bool, tmp_path: Path
) -> None:
    clip_folder(tmp_path, stored_arch, tag, notes)
    if fits:
        assert loaded(tmp_path, arch)[0].initialised == "loaded"
    else:
        with pytest.raises(WeightsError, match="QuickGELU"):
            loaded(tmp_path, arch)


@pytest.mark.usefixtures("small_clip")
@pytest.mark.parametrize(("arch", "fits"), [(f"{CLIP}.openai", False), (f"{QUICK}.openai", True)])
def test_the_tag_of_the_config_says_it_too(arch: str, fits: bool, tmp_path: Path) -> None:
    name = arch.partition(".")[0]
    save_file(stored(timm.create_model(name, num_classes=0)), tmp_path / "x.safetensors")
    if fits:
        loaded(tmp_path / "x.safetensors", arch)
    else:
        with pytest.raises(WeightsError, match=r"timm's record of `openai`"):
            loaded(tmp_path / "x.safetensors", arch)


# --- pictures -----------------------------------------------------------------------------------

CLIP_224 = SquarePreprocess(224)
PICTURE_CASES = [
    ("transformers", {"image_mean": [0.5, 0.5, 0.5]}, "image_mean"),
    ("transformers", {"image_std": [0.5, 0.5, 0.5]}, "image_std"),
    ("transformers", {"resample": 2}, "resample"),
    ("transformers", {"resample": 1}, "resample"),
    ("transformers", {"size": {"shortest_edge": 256}}, "size"),
    ("transformers", {"size": 336}, "size"),
    ("transformers", {"size": {"height": 224, "width": 224}}, "size"),
    ("transformers", {"crop_size": {"height": 200, "width": 200}}, "crop_size"),
    ("transformers", {"do_center_crop": False}, "do_center_crop"),
    ("transformers", {"do_resize": False}, "do_resize"),
    ("transformers", {"do_rescale": False}, "do_rescale"),
    ("transformers", {"do_normalize": False}, "do_normalize"),
    ("transformers", {"rescale_factor": 1.0}, "rescale_factor"),
    ("transformers", {"crop_pct": 0.9}, "crop_pct"),
    ("open_clip", {"mean": [0, 0, 0]}, "mean"),
    ("open_clip", {"std": [1, 1, 1]}, "std"),
    ("open_clip", {"interpolation": "bilinear"}, "interpolation"),
    ("open_clip", {"interpolation": "random"}, "interpolation"),
    ("open_clip", {"resize_mode": "squash"}, "resize_mode"),
    ("open_clip", {"resize_mode": "longest"}, "resize_mode"),
    ("open_clip", {"size": [336, 336]}, "size"),
    ("timm", {"input_size": [3, 256, 256]}, "input_size"),
    ("timm", {"crop_mode": "squash"}, "crop_mode"),
    ("timm", {"crop_mode": "border"}, "crop_mode"),
    ("timm", {"mean": [0.485, 0.456, 0.406]}, "mean"),
    ("timm", {"crop_pct": 0.95}, "crop_pct"),
    ("timm", {"interpolation": "bilinear"}, "interpolation"),
]
SAME_AS_CLIP = {"transformers": {"image_processor_type": "CLIPImageProcessor"}, "open_clip": {},
                "timm": {"mean": CLIP_224.mean, "std": CLIP_224.std, "crop_pct": 1.0}}  # fmt: skip


def pictures(program: str, values: dict[str, Any], preprocess: SquarePreprocess) -> list[str]:
    description = Description(program + PICTURES, picture_kind(values), "F", values)
    found = picture_differences(preprocess, description)
    assert not any(one.refuse for one in found)
    return [one.message for one in found]


@pytest.mark.parametrize(("program", "change", "key"), PICTURE_CASES)
def test_a_picture_prepared_in_another_way(program: str, change: Any, key: str) -> None:
    same = SAME_AS_CLIP[program]
    assert pictures(program, same, CLIP_224) == []
    (said, *_) = pictures(program, {**same, **change}, CLIP_224)
    assert said.startswith(f"`{key}` is ")


@pytest.mark.parametrize(
    ("program", "values", "preprocess"),
    [
        ("transformers", {"image_processor_type": "CLIPImageProcessorFast"}, CLIP_224),
        ("transformers", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224,
                          "crop_size": 224, "resample": 3}, CLIP_224),
        ("transformers", {"size": {"height": 64, "width": 64}, "do_center_crop": False},
         SquarePreprocess(64, resize="squash")),
        ("transformers", {}, SquarePreprocess(64, mean=(0, 0, 0))),
        ("open_clip", {"size": 224, "mode": "RGB", "fill_color": 0}, CLIP_224),
        ("open_clip", {"resize_mode": "squash"}, SquarePreprocess(224, resize="squash")),
        ("timm", {"input_size": [3, 64, 64], "crop_pct": 1.0, "interpolation": "bilinear"},
         SquarePreprocess(64, mean=SquarePreprocess.IMAGENET_MEAN,
                          std=SquarePreprocess.IMAGENET_STD, interpolation="bilinear")),
    ],
)  # fmt: skip
def test_a_picture_prepared_the_same_way(
    program: str, values: dict[str, Any], preprocess: SquarePreprocess
) -> None:
    assert pictures(program, values, preprocess) == []


@pytest.mark.parametrize(
    "odd",
    [{"size": "large"}, {"size": None}, {"image_mean": 3}, {"resample": None}, {"size": []},
     {"crop_size": {"height": "x"}}, {"image_std": ["a"]}, {"rescale_factor": {}}],
)  # fmt: skip
def test_values_of_another_type_are_differences(odd: Any) -> None:
    pictures("transformers", odd, CLIP_224)


def test_an_unknown_program_is_reported(tmp_path: Path) -> None:
    folder(tmp_path, "test_resnet")
    (tmp_path / "config.json").write_text('{"some": "thing"}')
    origin, _ = loaded(tmp_path, "test_resnet")
    assert "was not compared" in origin.warnings[0]

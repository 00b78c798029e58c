"""`timm` and `resnet50`: timm's own numbers, its weights with their classifiers, its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from engine.contracts import PluginRef, SquarePreprocess
from engine.core.size import tower_plan
from engine.errors import ConfigError, WeightsError
from engine_plugins.vision.resnet_plan import _RESNETS
from engine_plugins.vision.timm import TimmVision

MakeUse = Callable[..., PluginRef]
Shaken = Callable[..., Any]

# (name, image size, segments): the families that are cut, and others that are one block.
TINY = [
    ("test_resnet", 64, 6), ("test_vit", 32, 8), ("test_vit2", 32, 10), ("test_vit3", 48, 11),
    ("test_vit4", 32, 11), ("test_convnext", 64, 6), ("test_convnext2", 64, 6),
    ("test_efficientnet", 64, 7), ("test_efficientnet_gn", 64, 7), ("test_byobnet", 64, 3),
    ("test_nfnet", 64, 3), ("test_mambaout", 64, 3), ("test_vit_relpos", 48, 3),
]  # fmt: skip
REAL = [
    ("resnet50", 64, 6), ("resnet26d", 64, 6), ("resnext50_32x4d", 64, 6),
    ("convnext_tiny", 64, 6), ("efficientnet_b0", 64, 9), ("vit_small_patch16_224", 64, 14),
    ("vit_tiny_r_s16_p8_224", 64, 14), ("vit_small_patch14_reg4_dinov2", 56, 14),
    ("vit_base_patch16_siglip_224", 48, 14), ("deit_tiny_patch16_224", 64, 14),
    ("deit_tiny_distilled_patch16_224", 64, 3), ("mobilenetv3_small_100", 64, 3),
    ("regnety_002", 64, 3), ("swin_tiny_patch4_window7_224", 64, 3), ("repvit_m0_9", 64, 3),
]  # fmt: skip


def make(make_use: MakeUse, arch: str, size: int | None = None, **settings: Any) -> TimmVision:
    use = make_use("vision_tower", "timm", arch=arch, image_size=size, **settings)
    tower: TimmVision = use.create().eval()
    return tower


def original(arch: str, size: int, classes: int = 0) -> nn.Module:
    """timm's own model."""
    fixed = timm.get_pretrained_cfg(arch).fixed_input_size
    sized = {"img_size": size} if fixed else {}
    model: nn.Module = timm.create_model(arch, pretrained=False, num_classes=classes, **sized)
    return model


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def _measure_statistics(model: nn.Module, pixels: Tensor) -> None:
    """Let BatchNorm measure these pictures: at its start it lets them fade away in deep models."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches, of which there is one
    model.train()(pixels)
    model.eval()


def check_against_timm(tower: TimmVision, theirs: nn.Module, size: int, segments: int) -> None:
    """The same numbers whole and cut anywhere, and every parameter in one segment."""
    pixels = torch.randn(3, 3, size, size)
    _measure_statistics(theirs, pixels)
    tower.load_weights(theirs.state_dict(), "timm")
    expected = theirs(pixels)
    state = {"pixels": pixels}
    assert expected.shape == (3, tower.width)
    assert expected.std(dim=0).max() > 1e-3  # the pictures differ, so the comparison says much
    close(tower(state)["pooled"], expected)
    assert len(tower.segments()) == segments
    for index in range(segments):
        assert "pooled" not in state
        state = tower.run(state, index, index + 1)
        assert all(len(tensor) == 3 for tensor in state.values())
    close(state["pooled"], expected)
    counted = [id(p) for segment in tower.segments() for p in segment.parameters()]
    assert sorted(counted) == sorted(id(p) for p in tower.parameters())


@pytest.mark.parametrize(("arch", "size", "segments"), TINY)
def test_the_features_are_timms(
    arch: str, size: int, segments: int, make_use: MakeUse, shaken: Shaken
) -> None:
    check_against_timm(make(make_use, arch, size), shaken(original(arch, size)), size, segments)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "size", "segments"), REAL)
def test_the_features_of_real_models_are_timms(
    arch: str, size: int, segments: int, make_use: MakeUse, shaken: Shaken
) -> None:
    check_against_timm(make(make_use, arch, size), shaken(original(arch, size)), size, segments)


@pytest.mark.slow
def test_every_module_of_timm_gives_the_width_it_says(make_use: MakeUse) -> None:
    """One model of each of timm's modules, without memory for its weights."""
    wrong = []
    for module in timm.list_modules():
        # NaFlex models take patches instead of pictures, and are refused.
        for arch in [a for a in timm.list_models(module=module) if "naflex" not in a][:1]:
            with torch.device("meta"):
                tower = make(make_use, arch)
                size = tower.preprocess.size
                features = tower({"pixels": torch.randn(2, 3, size, size)})["pooled"]
            if features.shape != (2, tower.width):
                wrong.append((arch, tuple(features.shape), tower.width))
    assert not wrong


@pytest.mark.parametrize("arch", sorted(_RESNETS))
def test_the_plan_of_a_resnet_is_the_modules(arch: str, make_use: MakeUse) -> None:
    use = make_use("vision_tower", "timm", arch=f"{arch}.a1_in1k" if "test" not in arch else arch)
    plan = use.settings.plan()
    assert plan is not None
    assert tower_plan(use, meta=True) == plan


def test_resnet50_is_timms_resnet50(make_use: MakeUse) -> None:
    use = make_use("vision_tower", "resnet50")
    same = make_use("vision_tower", "timm", arch="resnet50")
    assert use.settings.plan() == same.settings.plan()
    assert use.settings.plan().width == 2048
    with pytest.raises(ValueError, match="resnet50"):
        make_use("vision_tower", "resnet50", arch="resnet18")


def test_other_models_have_no_plan_and_are_built_on_the_meta_device(make_use: MakeUse) -> None:
    use = make_use("vision_tower", "timm", arch="test_vit", image_size=32)
    assert use.settings.plan() is None
    plan = tower_plan(use)
    assert plan.width == 64
    tensors = make(make_use, "test_vit", 32).state_dict()
    assert {name: t.shape for name, t in plan.tensors.items()} == {
        name: tuple(t.shape) for name, t in tensors.items()
    }


@pytest.mark.parametrize(
    "arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_byobnet"]
)
def test_weights_with_a_classifier(arch: str, make_use: MakeUse, shaken: Shaken) -> None:
    theirs = shaken(original(arch, 32, classes=7))
    weights = theirs.state_dict()
    tower = make(make_use, arch, 32)
    assert len(weights) > len(tower.state_dict())
    tower.load_weights(weights, "timm")
    pixels = torch.randn(2, 3, 32, 32)
    theirs.reset_classifier(0)
    close(tower({"pixels": pixels})["pooled"], theirs(pixels))


@pytest.mark.slow
def test_weights_with_two_classifiers(make_use: MakeUse, shaken: Shaken) -> None:
    """DeiT's distilled models have a second head, for their teacher."""
    arch = "deit_tiny_distilled_patch16_224"
    theirs = shaken(original(arch, 32, classes=7))
    assert {"head.weight", "head_dist.weight"} <= set(theirs.state_dict())
    tower = make(make_use, arch, 32)
    tower.load_weights(theirs.state_dict(), "timm")
    pixels = torch.randn(2, 3, 32, 32)
    theirs.reset_classifier(0)
    close(tower({"pixels": pixels})["pooled"], theirs(pixels))


def test_old_weights_without_counters(make_use: MakeUse, shaken: Shaken) -> None:
    theirs = shaken(original("test_resnet", 32))
    old = {n: t for n, t in theirs.state_dict().items() if not n.endswith("batches_tracked")}
    assert len(old) < len(theirs.state_dict())
    tower = make(make_use, "test_resnet")
    tower.load_weights(old, "an old file")
    pixels = torch.randn(2, 3, 32, 32)
    close(tower({"pixels": pixels})["pooled"], theirs(pixels))


def test_its_own_weights_load_again(make_use: MakeUse, shaken: Shaken) -> None:
    first, second = shaken(make(make_use, "test_vit", 32)), make(make_use, "test_vit", 32)
    second.load_weights(first.state_dict(), "an artifact")
    assert all(torch.equal(t, second.state_dict()[n]) for n, t in first.state_dict().items())


def test_weights_that_do_not_fit_are_refused(make_use: MakeUse) -> None:
    tower = make(make_use, "test_vit", 32)
    with pytest.raises(WeightsError, match=r"shape of model\.pos_embed"):
        tower.load_weights(original("test_vit", 48).state_dict(), "timm")
    with pytest.raises(WeightsError, match=r"missing: model\.cls_token"):
        tower.load_weights(original("test_resnet", 48).state_dict(), "timm")


@pytest.mark.parametrize(
    ("arch", "weights", "named"),
    [
        ("test_vit", "scratch", "test_vit"),
        ("resnet18", "scratch", "resnet18"),
        ("resnet18.tv_in1k", "scratch", "resnet18.tv_in1k"),  # bilinear
        ("resnet18", "hf:timm/resnet18.tv_in1k", "resnet18.tv_in1k"),
        ("resnet18", "hf:timm/resnet18.tv_in1k@main", "resnet18.tv_in1k"),
        ("resnet18.a1_in1k", "hf:timm/resnet18.tv_in1k", "resnet18.a1_in1k"),  # arch says it
        ("resnet18", "hf:timm/resnet34.tv_in1k", "resnet18"),  # another model's
        ("resnet18", "hf:somebody/resnet18.tv_in1k", "resnet18"),
        ("resnet18", "hf:timm/resnet18.no_such_tag", "resnet18"),
        ("vit_tiny_patch16_224", "scratch", "vit_tiny_patch16_224"),  # means of a half
        ("efficientnet_b1", "scratch", "efficientnet_b1"),  # 224 or 240 pixels
        ("test_convnext.r160_in1k", "scratch", "test_convnext.r160_in1k"),
    ],
)
def test_pictures_are_prepared_by_timms_record(
    arch: str, weights: str, named: str, make_use: MakeUse
) -> None:
    record = timm.get_pretrained_cfg(named)
    with torch.device("meta"):
        found = make(make_use, arch, weights={"from": weights}).preprocess
        sized = make(make_use, arch, 96, weights={"from": weights}).preprocess
    assert (found.mean, found.std) == (record.mean, record.std)
    assert (found.size, found.interpolation) == (record.input_size[-1], record.interpolation)
    assert (found.resize, found.crop_pct) == ("shorter_side", record.crop_pct)
    assert sized.size == 96


def test_settings_come_before_timms_record(make_use: MakeUse) -> None:
    settings = {"mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 0.75, "resize": "squash",
                "interpolation": "bilinear"}  # fmt: skip
    with torch.device("meta"):
        found = make(make_use, "resnet18", None, **settings).preprocess
    assert found == SquarePreprocess(
        224,
        (0.1,) * 3,
        (0.2,) * 3,
        "squash",
        "bilinear",
        crop_pct=0.75,  # type: ignore[arg-type]
    )


def test_a_record_may_squash(make_use: MakeUse) -> None:
    squashed = [
        a for a in timm.list_models("vit_*") if timm.get_pretrained_cfg(a).crop_mode != "center"
    ]
    assert squashed, "timm no longer has a model whose pictures are squashed: drop this test"
    with torch.device("meta"):
        assert make(make_use, squashed[0]).preprocess.resize == "squash"


@pytest.mark.parametrize(
    ("arch", "size", "message"),
    [
        ("renset50", None, "did you mean `resnet50`?"),
        ("resnet50.no_such_tag", None, "timm knows no weights `no_such_tag` of `resnet50`"),
        ("xcit_nano_12_p16_224", 50, "timm cannot build `xcit_nano_12_p16_224` with"),
        ("test_vit", 50, "`test_vit` of timm takes no pictures of 50 x 50 pixels"),
        ("test_vit", 5, "`test_vit` of timm takes no pictures of 5 x 5 pixels"),
        ("test_convnext", 3, "`test_convnext` of timm takes no pictures of 3 x 3 pixels"),
        ("levit_128s", 200, "`levit_128s` of timm takes no pictures of 200 x 200 pixels"),
    ],
)
def test_what_timm_cannot_build_is_reported(
    arch: str, size: int | None, message: str, make_use: MakeUse
) -> None:
    with pytest.raises(ConfigError) as caught, torch.device("meta"):
        make(make_use, arch, size)
    assert message in caught.value.message

"""`openai_clip`'s vision tower: open_clip's own numbers, its checkpoints, its preparation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from engine.contracts import PluginRef
from engine.contracts.preprocess import to_batch, to_pixels
from engine.errors import WeightsError
from engine_plugins.vision.clip import ClipVision

MakeUse = Callable[..., PluginRef]
Shaken = Callable[..., Any]

SMALL: dict[str, Any] = {
    "width": 48, "layers": 3, "heads": 4, "embed_width": 24, "mlp_ratio": 2.5, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def original(
    settings: dict[str, Any], *, quick_gelu: bool = True, custom: bool = False
) -> nn.Module:
    """open_clip's own model of these numbers, with a text tower too small to matter."""
    vision = {
        "width": settings["width"], "layers": settings["layers"],
        "head_width": settings["width"] // settings["heads"], "mlp_ratio": settings["mlp_ratio"],
        "patch_size": settings["patch_size"], "image_size": settings["image_size"],
    }  # fmt: skip
    text = {"context_length": 8, "vocab_size": 10, "width": 16, "heads": 2, "layers": 1}
    cls = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model: nn.Module = cls(settings["embed_width"], vision, text, quick_gelu=quick_gelu)
    return model


def make(make_use: MakeUse, **settings: Any) -> ClipVision:
    tower: ClipVision = make_use("vision_tower", "openai_clip", **settings).create().eval()
    return tower


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"heads": 1, "layers": 1, "patch_size": 32},
        {"image_size": 37, "patch_size": 9},  # a margin that no patch covers
        {"width": 40, "heads": 5, "mlp_ratio": 4.3231, "layers": 2},
    ],
)
def test_the_features_are_open_clips(
    numbers: dict[str, Any], quick_gelu: bool, make_use: MakeUse, shaken: Shaken
) -> None:
    settings = {**SMALL, **numbers}
    theirs = shaken(original(settings, quick_gelu=quick_gelu))
    ours = make(make_use, quick_gelu=quick_gelu, **settings)
    ours.load_weights(theirs.state_dict(), "open_clip")
    size = settings["image_size"]
    pixels = torch.randn(9, 3, size, size)
    expected = theirs.encode_image(pixels)
    assert expected.std(dim=0).min() > 1e-3  # the pictures differ, so the comparison says much
    features = ours({"pixels": pixels})["pooled"]
    close(features, expected)
    texts = torch.randn(50, expected.shape[1])
    assert torch.equal((texts @ features.T).argmax(1), (texts @ expected.T).argmax(1))


def test_activation_and_heads_are_seen_in_the_features(make_use: MakeUse, shaken: Shaken) -> None:
    """Tensors fit whatever these two are, so only the numbers can tell them apart."""
    tower = shaken(make(make_use, **SMALL))
    pixels = {"pixels": torch.randn(3, 3, 32, 32)}
    for changed in ({"quick_gelu": False}, {"heads": 2}):
        other = make(make_use, **{**SMALL, **changed})
        other.load_weights(tower.state_dict(), "the same weights")
        assert (other(pixels)["pooled"] - tower(pixels)["pooled"]).abs().max() > 1e-4


def test_without_the_projection(make_use: MakeUse, shaken: Shaken) -> None:
    theirs = shaken(original(SMALL))
    tower = make(make_use, project=False, **SMALL)
    tower.load_weights(theirs.state_dict(), "open_clip")  # leaves `visual.proj` out
    pixels = torch.randn(4, 3, 32, 32)
    features = tower({"pixels": pixels})["pooled"]
    assert tower.width == features.shape[1] == 48
    close(features @ theirs.visual.proj, theirs.encode_image(pixels))


def test_loads_every_kind_of_clip_checkpoint(make_use: MakeUse, shaken: Shaken) -> None:
    theirs = shaken(original(SMALL))
    plain = theirs.state_dict()
    numbers = {"input_resolution": 32, "context_length": 8, "vocab_size": 10}
    custom = original(SMALL, custom=True)
    custom.load_state_dict(
        {n if n.startswith(("visual", "logit")) else f"text.{n}": t for n, t in plain.items()}
    )
    kinds: dict[str, dict[str, Tensor]] = {
        "open_clip": plain,
        "CustomTextCLIP": custom.state_dict(),
        "OpenAI": {**plain, **{n: torch.tensor(number) for n, number in numbers.items()}},
        "vision tower alone": {
            n.removeprefix("visual."): t for n, t in plain.items() if n.startswith("visual.")
        },
    }
    pixels = torch.randn(4, 3, 32, 32)
    expected = theirs.encode_image(pixels)
    for kind, weights in kinds.items():
        tower = make(make_use, **SMALL)
        tower.load_weights(weights, kind)
        close(tower({"pixels": pixels})["pooled"], expected)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"image_size": 40}, "shape of positional_embedding: (17, 48) there, (26, 48) here"),
        ({"patch_size": 16}, "shape of conv1.weight: (48, 3, 8, 8) there, (48, 3, 16, 16) here"),
        ({"layers": 2}, "unknown: transformer.resblocks.2"),
        ({"layers": 4}, "missing: transformer.resblocks.3"),
        ({"embed_width": 23}, "shape of proj: (48, 24) there, (48, 23) here"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    numbers: dict[str, Any], message: str, make_use: MakeUse
) -> None:
    tower = make(make_use, **{**SMALL, **numbers})
    with pytest.raises(WeightsError) as caught:
        tower.load_weights(original(SMALL).state_dict(), "file:somewhere.pt")
    assert message in caught.value.message
    assert "file:somewhere.pt" in caught.value.message


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"width": 50, "heads": 8}, "width 50 is not a multiple of heads 8"),
        ({"image_size": 16, "patch_size": 32}, "patch_size 32 is larger than image_size 16"),
        ({"arch": "ViT-B-23"}, "did you mean `ViT-B-32`?"),
        ({"arch": "ViT-B-16-SigLIP"}, "{use: timm, arch: vit_base_patch16_siglip_224}"),
        ({"arch": "RN50"}, "{use: resnet50}"),
        ({"arch": 7}, "arch"),
        ({"std": (1.0, 0.0, 1.0)}, "a standard deviation must be above 0"),
        ({"image_size": 10**9}, "image_size"),
        ({"resize": "stretch"}, "resize"),
    ],
)
def test_bad_settings_are_reported(
    numbers: dict[str, Any], message: str, make_use: MakeUse
) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        make_use("vision_tower", "openai_clip", **numbers)
    assert message in str(caught.value)


@pytest.mark.parametrize("arch", ["ViT-B-32", "ViT-L-14-336", "ViT-H-14-378"])
def test_pictures_are_prepared_as_open_clip_does(arch: str, make_use: MakeUse) -> None:
    settings = {"width": 16, "heads": 2, "layers": 1}
    tower = make(make_use, arch=arch, **settings)
    config = open_clip.get_model_config(arch)
    wanted = PreprocessCfg(size=config["vision_cfg"]["image_size"])
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (300, 471, 3), dtype=np.uint8)
    )
    ours = to_batch([to_pixels(picture, tower.preprocess)], tower.preprocess)[0]
    assert torch.equal(ours, image_transform_v2(wanted, is_train=False)(picture))


@pytest.mark.slow
def test_the_whole_model_at_full_size(make_use: MakeUse, shaken: Shaken) -> None:
    """ViT-B-32-quickgelu, both towers: every tensor, the embeddings, the answers."""
    arch = "ViT-B-32-quickgelu"
    theirs = shaken(open_clip.create_model(arch, pretrained=None))
    vision = make(make_use, arch=arch)
    text = make_use("text_encoder", "openai_clip", arch=arch).create().eval()
    for tower in (vision, text):
        tower.load_weights(theirs.state_dict(), "open_clip")
    count = sum(p.numel() for tower in (vision, text) for p in tower.parameters())
    assert count + 1 == 151_277_313  # and the logit scale
    pixels = torch.randn(6, 3, 224, 224)
    names = open_clip.IMAGENET_CLASSNAMES[:40]
    ids = open_clip.get_tokenizer(arch)([f"a photo of a {name}." for name in names])
    ends = ids.argmax(dim=1)
    length = int(ends.max()) + 1
    mask = torch.arange(length) <= ends[:, None]
    images = nn.functional.normalize(vision({"pixels": pixels})["pooled"], dim=-1)
    texts = nn.functional.normalize(text({"ids": ids[:, :length], "mask": mask})["pooled"])
    their_images = theirs.encode_image(pixels, normalize=True)
    their_texts = theirs.encode_text(ids, normalize=True)
    close(images, their_images)
    close(texts, their_texts)
    assert torch.equal((images @ texts.T).argmax(1), (their_images @ their_texts.T).argmax(1))

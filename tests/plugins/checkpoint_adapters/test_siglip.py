"""SigLIP and MobileCLIP whole, from open_clip's and transformers' checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.core.build import Built
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.errors import ConfigError, WeightsError
from engine.exchange.importing import import_checkpoint
from engine_plugins.checkpoint_adapters.siglip_names import to_siglip

from ..siglip_models import (
    ARCH,
    SIZE,
    TEXT,
    mobile_clip,
    open_clip_siglip,
    register,
    transformers_siglip,
)

Shaken = Callable[..., Any]
LENGTHS = [12, 3, 1, 7]
IDENTITY = {"use": "identity"}


@pytest.fixture(autouse=True)
def _seeded(no_tokenizer: None) -> Iterator[None]:
    register()
    torch.manual_seed(2)
    with torch.no_grad():
        yield


def config_of(**changed: Any) -> EngineConfig:
    """A config of the small SigLIP.

    Args:
        changed: parts of ``model``, updated (mappings) or replaced.
    """
    model: dict[str, Any] = {
        "embed_dim": 48, "logit_scale": 0.0, "logit_bias": 0.0,
        "vision": {"use": "timm", "arch": ARCH, "image_size": SIZE},
        "text": {"use": "siglip", **TEXT, "tokenizer": {"use": "trained"}},
        "projection": {"vision": IDENTITY, "text": IDENTITY},
    }  # fmt: skip
    for part, values in changed.items():
        both = isinstance(values, dict) and part != "projection"
        model[part] = {**model[part], **values} if both else values
    data = {"engine": 1, "name": "foreign", "model": model}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def batch() -> tuple[Tensor, Tensor]:
    ids = torch.randint(88, (len(LENGTHS), 12))
    return ids, torch.arange(12) < torch.tensor(LENGTHS)[:, None]


def check(built: Built, theirs: nn.Module, pad: int, *, size: int = SIZE) -> None:
    """The embeddings and logits of both are the same."""
    pixels, (ids, mask) = torch.randn(5, 3, size, size), batch()
    filled = ids.masked_fill(~mask, pad)
    if hasattr(theirs, "get_text_features"):
        out = theirs(input_ids=filled, pixel_values=pixels)
        image, text, logits = out.image_embeds, out.text_embeds, out.logits_per_image
    else:
        image = theirs.encode_image(pixels, normalize=True)
        text = theirs.encode_text(filled, normalize=True)
        logits = theirs.logit_scale.exp() * image @ text.T
        if theirs.logit_bias is not None:
            logits = logits + theirs.logit_bias
    model = built.model
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(model.encode_image(pixels), image, **close)
    torch.testing.assert_close(model.encode_text(ids, mask), text, **close)
    found = model(pixels, ids, mask)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.argmax(1), logits.argmax(1))
    assert image.std(dim=0).max() > 1e-3
    assert text.std(dim=0).max() > 1e-3


def saved(theirs: nn.Module, folder: Path) -> Path:
    path = folder / "open_clip_model.safetensors"
    save_file({n: t.contiguous() for n, t in theirs.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("tanh", [False, True])
def test_open_clips_siglip(tanh: bool, tmp_path: Path, shaken: Shaken) -> None:
    theirs = shaken(open_clip_siglip(tanh=tanh))
    config = config_of(text={"activation": "gelu_tanh" if tanh else "gelu", "pad_id": 1})
    check(import_checkpoint(saved(theirs, tmp_path), config), theirs, 1)


@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu"])
def test_transformers_siglip(act: str, tmp_path: Path, shaken: Shaken) -> None:
    theirs = shaken(transformers_siglip(hidden_act=act))
    theirs.save_pretrained(tmp_path)
    own = {"gelu_pytorch_tanh": "gelu_tanh"}.get(act, act)
    config = config_of(vision={"activation": own}, text={"activation": own, "pad_id": 0})
    built = import_checkpoint(tmp_path, config)
    check(built, theirs, 0)
    back = to_siglip(built.model.state_dict())
    right = theirs.state_dict()
    assert back.keys() == right.keys()
    assert all(torch.equal(back[name].reshape(t.shape), t) for name, t in right.items())


def test_open_clips_mobileclip(tmp_path: Path, shaken: Shaken) -> None:
    theirs = shaken(mobile_clip())
    text = {"use": "mobileclip", **TEXT, "embed_width": 24, "arch": None, "pooling": "end",
            "project": "matrix", "norm_eps": 1e-5, "tokenizer": {"use": "trained"}}  # fmt: skip
    config = config_of(
        embed_dim=24, logit_bias=None, vision={"arch": "fastvit_t8", "image_size": 64}, text=text,
        projection={"vision": {"use": "linear", "bias": True}, "text": IDENTITY},
    )  # fmt: skip
    built = import_checkpoint(saved(theirs, tmp_path), config)
    pixels, (ids, mask) = torch.randn(4, 3, 64, 64), batch()
    ids[range(4), torch.tensor(LENGTHS) - 1] = 89
    close = {"rtol": 0, "atol": 1e-5}
    image = theirs.encode_image(pixels, normalize=True)
    torch.testing.assert_close(built.model.encode_image(pixels), image, **close)
    words = theirs.encode_text(ids.masked_fill(~mask, 0), normalize=True)
    torch.testing.assert_close(built.model.encode_text(ids, mask), words, **close)


def test_a_tower_takes_its_part_of_a_whole_file(tmp_path: Path, shaken: Shaken) -> None:
    from engine.core.making import make_model

    for theirs, own in ((shaken(open_clip_siglip(tanh=True)), "gelu_tanh"),
                        (shaken(transformers_siglip()), "gelu_tanh")):  # fmt: skip
        config = config_of(vision={"activation": own}, text={"activation": own, "pad_id": 1})
        model = make_model(config).eval()
        model.vision.load_weights(theirs.state_dict(), "whole")
        pixels = torch.randn(3, 3, SIZE, SIZE)
        found = model.vision({"pixels": pixels})["pooled"]
        if hasattr(theirs, "get_image_features"):
            right = theirs.get_image_features(pixel_values=pixels)
            right = getattr(right, "pooler_output", right)
            torch.testing.assert_close(found, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_attention_heads": 6}, "num_attention_heads"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps"),
        ({"image_size": 64}, "image_size"),
        ({"patch_size": 4}, "patch_size"),
        ({"vision_use_head": False}, "vision_use_head"),
        ({"model_type": "siglip2_vision_model"}, "siglip2_vision_model"),
    ],
)
def test_a_wrong_vision_config_is_refused_by_name(
    changed: dict[str, Any], named: str, tmp_path: Path, shaken: Shaken
) -> None:
    transformers_siglip().save_pretrained(tmp_path)
    tanh = {"activation": "gelu_tanh"}
    config = config_of(vision=tanh, text={**tanh, "pad_id": 0})
    import_checkpoint(tmp_path, config)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["vision_config"] |= changed
    path.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=named):
        import_checkpoint(tmp_path, config)


def test_naflex_is_refused(tmp_path: Path) -> None:
    from transformers import Siglip2Config, Siglip2Model

    common = {"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 64,
              "num_attention_heads": 4}  # fmt: skip
    config = Siglip2Config(
        text_config={**common, "vocab_size": 90, "max_position_embeddings": 12},
        vision_config={**common, "num_patches": 16, "patch_size": 8},
    )
    Siglip2Model(config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="NaFlex"):
        import_checkpoint(tmp_path, config_of())
    with pytest.raises(ConfigError, match="NaFlex"):
        config_of(vision={"arch": "naflexvit_base_patch16_siglip"}).model.vision.create()

"""open_clip's models of foreign towers: transformers' text, timm's vision; TinyCLIP's shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, M2M100Config, XLMRobertaConfig

from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.exchange.importing import import_checkpoint

Shaken = Callable[..., Any]
VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8}
OWN_VISION = {"use": "openai_clip", "image_size": 32, "patch_size": 8, "width": 32, "layers": 2,
              "heads": 4, "embed_width": 24, "quick_gelu": False}  # fmt: skip
OWN_TEXT = {"vocab_size": 90, "max_tokens": 14, "width": 48, "layers": 2, "heads": 4,
            "mlp_ratio": 2.5, "tokenizer": {"use": "trained"}}  # fmt: skip
IDENTITY = {"use": "identity"}
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _seeded(no_tokenizer: None) -> Iterator[None]:
    torch.manual_seed(4)
    with torch.no_grad():
        yield


def config_of(
    vision: dict[str, Any], text: dict[str, Any], projection: dict[str, Any] | None = None
) -> EngineConfig:
    both = {"vision": IDENTITY, "text": IDENTITY, **(projection or {})}
    model = {"embed_dim": 24, "vision": vision, "text": text, "projection": both}
    data = {"engine": 1, "name": "foreign", "model": model}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def saved(theirs: nn.Module, folder: Path) -> Path:
    path = folder / "open_clip_model.safetensors"
    save_file({n: t.contiguous() for n, t in theirs.state_dict().items()}, path)
    return path


def batch() -> tuple[Tensor, Tensor]:
    """Ids that are never the padding of the originals, 1."""
    lengths = torch.tensor([14, 3, 9, 5])
    mask = torch.arange(14) < lengths[:, None]
    return torch.randint(5, 90, (4, 14)), mask


def encoder(model: str) -> HFTextEncoder:
    """open_clip's wrapper, as it builds it from a model's name."""
    if model == "xlm_roberta":
        config: Any = XLMRobertaConfig(
            vocab_size=90, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=120, max_position_embeddings=20, type_vocab_size=1,
            layer_norm_eps=1e-5, pad_token_id=1,
        )  # fmt: skip
        made = HFTextEncoder("", 24, config, "mean_pooler", "mlp", pretrained=False)
        made.transformer.pooler = None
        return made
    config = M2M100Config(
        vocab_size=90, d_model=48, encoder_layers=2, encoder_attention_heads=4,
        encoder_ffn_dim=120, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=16,
        max_position_embeddings=20, scale_embedding=True, pad_token_id=1,
    )  # fmt: skip
    made = HFTextEncoder("", 24, config, "cls_pooler", "linear", pretrained=False)
    made.transformer = made.transformer.encoder
    return made


@pytest.mark.parametrize("model", ["xlm_roberta", "nllb"])
def test_a_text_tower_of_transformers(model: str, tmp_path: Path, shaken: Shaken) -> None:
    theirs: Any = open_clip.CustomTextCLIP(24, VISION, {"width": 8, "heads": 1, "layers": 1})
    theirs.text = encoder(model)
    shaken(theirs)
    text = {"use": model, **OWN_TEXT, **({"n_positions": 20} if model == "xlm_roberta" else {})}
    projection = {"use": "mlp"} if model == "xlm_roberta" else {"use": "linear"}
    built = import_checkpoint(
        saved(theirs, tmp_path), config_of(OWN_VISION, text, {"text": projection})
    ).model
    ids, mask = batch()
    right = theirs.encode_text(ids.masked_fill(~mask, 1), normalize=True)
    torch.testing.assert_close(built.encode_text(ids, mask), right, **CLOSE)
    pixels = torch.randn(3, 3, 32, 32)
    expected = theirs.encode_image(pixels, normalize=True)
    torch.testing.assert_close(built.encode_image(pixels), expected, **CLOSE)


@pytest.mark.parametrize(
    ("arch", "cfg", "projection"),
    [
        ("test_convnext", {"timm_proj": "linear"}, {"use": "linear"}),
        ("test_convnext", {"timm_proj": "linear", "timm_proj_bias": True},
         {"use": "linear", "bias": True}),
        ("test_convnext", {"timm_proj": "mlp"}, {"use": "mlp", "bias": "first",
                                                 "hidden_width": 48}),
        ("test_convnext", {"timm_proj": None}, {"use": "linear", "bias": True}),
        ("test_vit", {"timm_proj": None, "timm_pool": "token"}, {"use": "linear", "bias": True}),
    ],
)  # fmt: skip
def test_a_vision_tower_of_timm(
    arch: str, cfg: dict[str, Any], projection: dict[str, Any], tmp_path: Path, shaken: Shaken
) -> None:
    """ConvNeXt as open_clip's `convnext_base_w` has it, and its like."""
    vision = {"image_size": 64, "timm_model_name": arch, "timm_pool": "avg", **cfg}
    text = {"context_length": 14, "vocab_size": 90, "width": 48, "heads": 4, "layers": 2}
    theirs: Any = shaken(open_clip.CLIP(24, vision, text))
    own = {"use": "openai_clip", "arch": "ViT-B-32", **OWN_TEXT, "mlp_ratio": 4.0,
           "embed_width": 24}  # fmt: skip
    built = import_checkpoint(
        saved(theirs, tmp_path),
        config_of({"use": "timm", "arch": arch}, own, {"vision": projection}),
    ).model
    size = built.vision.preprocess.size
    pixels = torch.randn(3, 3, size, size)
    expected = theirs.encode_image(pixels, normalize=True)
    torch.testing.assert_close(built.encode_image(pixels), expected, **CLOSE)


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_tinyclips_shapes(act: str, tmp_path: Path, shaken: Shaken) -> None:
    """Fewer and narrower blocks in either tower, in transformers' form."""
    common = {"hidden_act": act}
    theirs = shaken(CLIPModel(CLIPConfig(
        vision_config={**common, "hidden_size": 32, "intermediate_size": 128,
                       "num_hidden_layers": 5, "num_attention_heads": 4, "image_size": 32,
                       "patch_size": 16},
        text_config={**common, "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 3,
                     "num_attention_heads": 2, "vocab_size": 90, "max_position_embeddings": 14,
                     "eos_token_id": 89, "bos_token_id": None, "pad_token_id": None},
        projection_dim=24,
    )))  # fmt: skip
    theirs.save_pretrained(tmp_path)
    quick = act == "quick_gelu"
    vision = {**OWN_VISION, "layers": 5, "patch_size": 16, "quick_gelu": quick}
    text = {"use": "openai_clip", **OWN_TEXT, "width": 16, "layers": 3, "heads": 2,
            "mlp_ratio": 4.0, "embed_width": 24, "quick_gelu": quick}  # fmt: skip
    built = import_checkpoint(tmp_path, config_of(vision, text)).model
    ids, mask = batch()
    ids = torch.where(ids == 89, 88, ids)
    ids[range(4), mask.sum(dim=1) - 1] = 89
    pixels = torch.randn(3, 3, 32, 32)
    out = theirs(input_ids=ids, pixel_values=pixels, attention_mask=mask.long())
    torch.testing.assert_close(built.encode_image(pixels), out.image_embeds, **CLOSE)
    torch.testing.assert_close(built.encode_text(ids, mask), out.text_embeds, **CLOSE)

"""transformers' own small models are imported and give their own embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from engine.contracts import pad_tokens
from engine.core.build import Built
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.errors import WeightsError
from engine.exchange.importing import import_checkpoint
from engine_plugins.checkpoint_adapters import transformers_names as names

WIDTH, JOINT, VOCABULARY, END = 24, 20, 300, 299
ROWS = [[*range(3, 9), END], [4, END], [END], [11, 7, 7, 250, END]]
SEEN = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 16, "patch_size": 8, "model_type": "clip_vision_model",
}  # fmt: skip
READ = {
    "hidden_size": WIDTH, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": VOCABULARY, "max_position_embeddings": 12,
}  # fmt: skip
CLIP_TEXT = {**READ, "model_type": "clip_text_model", "eos_token_id": END, "bos_token_id": None,
             "pad_token_id": None}  # fmt: skip
VISION = {
    "use": "openai_clip", "image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "heads": 4,
    "mlp_ratio": 1.5, "embed_width": JOINT,
}  # fmt: skip
TEXT = {
    "use": "openai_clip", "width": WIDTH, "layers": 2, "heads": 4, "mlp_ratio": 40 / 24 + 1e-9,
    "vocab_size": VOCABULARY, "max_tokens": 12, "embed_width": JOINT,
}  # fmt: skip
BERT = {
    "use": "rubert", "width": WIDTH, "layers": 2, "heads": 4, "mlp_ratio": 40 / 24,
    "vocab_size": VOCABULARY, "n_positions": 12, "max_tokens": 12,
}  # fmt: skip
IDENTITY, LINEAR = {"use": "identity"}, {"use": "linear"}


@pytest.fixture(autouse=True)
def _seeded(no_tokenizer: None) -> Iterator[None]:
    torch.manual_seed(2)
    with torch.no_grad():
        yield


def shaken(model: nn.Module) -> Any:
    for tensor in model.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.add_(0.1 * torch.randn(tensor.shape))
    return model.eval()


def clip(**both: Any) -> Any:
    config = CLIPConfig(
        vision_config={**SEEN, **both}, text_config={**CLIP_TEXT, **both}, projection_dim=JOINT
    )
    return shaken(CLIPModel(config))


def gelu_clip() -> Any:
    return clip(hidden_act="gelu")


def dual(text: dict[str, Any]) -> Any:
    config = VisionTextDualEncoderConfig(
        vision_config=SEEN, text_config=text, projection_dim=JOINT, logit_scale_init_value=2.0
    )
    return shaken(VisionTextDualEncoderModel(config))


def passing(model: Any) -> Any:
    """The pooler of BERT made to pass the first token on."""
    pooler = model.text_model.pooler.dense
    pooler.weight.copy_(names.POOLER_FACTOR * torch.eye(WIDTH))
    pooler.bias.zero_()
    model.text_projection.weight.div_(names.POOLER_FACTOR)
    return model


def config_of(text: dict[str, Any], of_text: dict[str, Any], **vision: Any) -> EngineConfig:
    of_vision = LINEAR if vision.get("project") is False else IDENTITY
    model = {"embed_dim": JOINT, "vision": {**VISION, **vision}, "text": text,
             "projection": {"vision": of_vision, "text": of_text}}  # fmt: skip
    data = {"engine": 1, "name": "foreign", "model": model}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def check(built: Built, model: Any) -> None:
    pixels, batch = torch.randn(3, 3, 16, 16), pad_tokens(ROWS, pad_id=0)
    out = model(pixel_values=pixels, input_ids=batch["ids"], attention_mask=batch["mask"].long())
    for found, expected in (
        (built.model.encode_image(pixels), out.image_embeds),
        (built.model.encode_text(**batch), out.text_embeds),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    logits = built.model(pixels, **batch)
    torch.testing.assert_close(logits, out.logits_per_image, rtol=1e-4, atol=1e-4)
    assert built.manifest["weights"]["vision"]["source"].endswith("(layout transformers)")


def case(name: str, make: Callable[[], Any], config: Callable[[], EngineConfig]) -> Any:
    return pytest.param(make, config, id=name)


CASES = [
    case("CLIP", clip, lambda: config_of(TEXT, IDENTITY)),
    case("CLIP, its projection beside the tower", clip,
         lambda: config_of(TEXT, IDENTITY, project=False)),
    case("CLIP with GELU", gelu_clip,
         lambda: config_of({**TEXT, "quick_gelu": False}, IDENTITY, quick_gelu=False)),
    case("dual, both CLIP's", lambda: dual(CLIP_TEXT), lambda: config_of(TEXT, IDENTITY)),
    case("dual, BERT whose pooler passes", lambda: passing(dual({**READ, "model_type": "bert"})),
         lambda: config_of(BERT, LINEAR)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "config"), CASES)
def test_a_folder_gives_its_own_embeddings(
    make: Callable[[], Any], config: Callable[[], EngineConfig], tmp_path: Path
) -> None:
    model = make()
    model.save_pretrained(tmp_path / "model")
    check(import_checkpoint(tmp_path / "model", config()), model)


def test_the_file_alone_in_half_precision(tmp_path: Path) -> None:
    model = clip()
    model.half().float().save_pretrained(tmp_path)
    half = {n: t.half().clone() for n, t in load_file(tmp_path / "model.safetensors").items()}
    save_file(half, tmp_path / "half.safetensors")
    check(import_checkpoint(tmp_path / "half.safetensors", config_of(TEXT, IDENTITY)), model)


def test_a_torch_file_with_names_of_version_4(tmp_path: Path) -> None:
    """The vision model once stood inside of itself, and indices were stored."""
    model = dual(CLIP_TEXT)
    old = {
        name.replace("vision_model.", "vision_model.vision_model.", 1)
        .replace("text_model.", "text_model.text_model.", 1): tensor
        for name, tensor in model.state_dict().items()
    }  # fmt: skip
    old["vision_model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    old["text_model.text_model.embeddings.position_ids"] = torch.arange(12)[None]
    torch.save(old, tmp_path / "pytorch_model.bin")
    check(import_checkpoint(tmp_path, config_of(TEXT, IDENTITY)), model)


def test_a_folder_in_parts(tmp_path: Path) -> None:
    model = clip()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    check(import_checkpoint(tmp_path, config_of(TEXT, IDENTITY)), model)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("no JSON", "not an index of a checkpoint in parts"),
        ("{}", "not an index of a checkpoint in parts"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "not a plain safetensors file"),
        ('{"weight_map": {"a": "x.bin"}}', "not a plain safetensors file"),
        ('{"weight_map": {"a": 3}}', "not a plain safetensors file"),
        ('{"weight_map": {"a": "x.safetensors"}}', "no such file"),
    ],
)
def test_a_broken_index(index: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match=reason):
        import_checkpoint(tmp_path, config_of(TEXT, IDENTITY))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no weights"):
        import_checkpoint(tmp_path, config_of(TEXT, IDENTITY))


@pytest.mark.parametrize("change", ["tanh", "bias", "other factor"])
def test_a_pooler_that_does_something_is_refused(change: str, tmp_path: Path) -> None:
    model = dual({**READ, "model_type": "bert"})
    if change != "tanh":
        passing(model)
    pooler = model.text_model.pooler.dense
    if change == "bias":
        pooler.bias[3] = 0.1
    if change == "other factor":
        pooler.weight.mul_(0.5)
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"a pooler \(a matrix and tanh") as caught:
        import_checkpoint(tmp_path, config_of(BERT, LINEAR))
    assert str(tmp_path) in str(caught.value)


def test_what_does_not_fit_is_reported_by_name(tmp_path: Path) -> None:
    model = clip()
    tensors = {n: t.clone() for n, t in model.state_dict().items()}
    del tensors["text_model.encoder.layers.1.self_attn.k_proj.weight"]
    tensors["vision_model.extra"] = torch.ones(2)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(tmp_path, config_of(TEXT, IDENTITY))
    for part in ("missing: text.transformer.resblocks.1.attn.in_proj_weight",
                 "unknown: text.transformer.resblocks.1.attn.q_proj.weight",
                 "unknown: vision.extra"):  # fmt: skip
        assert part in str(caught.value)


OURS = st.sampled_from(
    ["class_embedding", "conv1.weight", "positional_embedding", "ln_pre.weight", "ln_post.bias",
     "transformer.resblocks.0.ln_1.weight", "transformer.resblocks.11.ln_2.bias",
     "transformer.resblocks.3.attn.in_proj_weight", "transformer.resblocks.3.attn.in_proj_bias",
     "transformer.resblocks.0.attn.out_proj.weight", "transformer.resblocks.7.mlp.c_fc.bias",
     "transformer.resblocks.7.mlp.c_proj.weight"]
)  # fmt: skip


@given(chosen=st.sets(OURS, min_size=1))
def test_names_go_there_and_back(chosen: set[str]) -> None:
    own: dict[str, Tensor] = {
        name: torch.randn(6, 4) if name.endswith("weight") else torch.randn(6)
        for name in sorted(chosen)
    }
    split = names.split_attention(own)
    there = {names.to_transformers("vision_model", n): t for n, t in split.items()}
    assert len(there) == len(split)
    assert not set(there) & chosen
    back = names.join_attention({names.to_engine("vision_model", n): t for n, t in there.items()})
    assert back.keys() == own.keys()
    assert all(torch.equal(back[name], own[name]) for name in own)

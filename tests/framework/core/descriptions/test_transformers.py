"""transformers' own models, saved by transformers, whose settings no tensor reveals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2Model,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from engine.contracts import pad_tokens
from engine.core.build import Built, load_tower
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.registry import default_registry
from engine.errors import WeightsError
from engine.exchange.importing import import_checkpoint

END = 59
ROWS = [[3, 4, 5, END], [9, END], [11, 7, 7, 50, 2, END]]
SEEN = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "image_size": 16,
        "patch_size": 8, "num_attention_heads": 4}  # fmt: skip
READ = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 60,
        "max_position_embeddings": 12, "num_attention_heads": 4}  # fmt: skip
GPT = {"n_embd": 24, "n_layer": 2, "n_head": 4, "vocab_size": 60, "n_positions": 12, "n_inner": 48}
SMALL = {"width": 24, "layers": 2, "heads": 4, "mlp_ratio": 2, "quick_gelu": True}
VISION = {"use": "openai_clip", "image_size": 16, "patch_size": 8, "embed_width": 16, **SMALL}
CLIP = {"use": "openai_clip", "vocab_size": 60, "max_tokens": 12, "embed_width": 16, **SMALL}
BERT = {"use": "rubert", "width": 24, "layers": 2, "heads": 4, "mlp_ratio": 2, "vocab_size": 60,
        "n_positions": 12, "max_tokens": 12, "tokenizer": {"use": "trained"}}  # fmt: skip
GPT_TEXT = {**BERT, "use": "gpt3small"}
LINEAR = {"use": "linear"}


def config(text: dict[str, Any], vision: dict[str, Any] = VISION, **more: Any) -> EngineConfig:
    own = {"use": "identity"} if text["use"] == "openai_clip" else LINEAR
    model = {"embed_dim": 16, "vision": vision, "text": text,
             "projection": {"vision": {"use": "identity"}, "text": own}}  # fmt: skip
    data = {"engine": 1, "name": "small", "model": model, **more}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def shaken(model: Any) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.add_(0.4 * torch.randn(tensor.shape))
    return model.eval()


def clip(seen: dict[str, Any], read: dict[str, Any]) -> Any:
    return shaken(
        CLIPModel(
            CLIPConfig(
                vision_config={**SEEN, **seen},
                text_config={**READ, "eos_token_id": END, **read},
                projection_dim=16,
            )
        )
    )


def images(model: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(pixel_values=pixels, **tokens()).image_embeds


def tokens() -> dict[str, Tensor]:
    batch = pad_tokens(ROWS, pad_id=0)
    return {"input_ids": batch["ids"], "attention_mask": batch["mask"].long()}


@pytest.fixture(autouse=True)
def _no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.exchange.importing

    monkeypatch.setattr(engine.exchange.importing, "make_tokenizer", lambda config: _Stand())


class _Stand:
    """Not an engine tokenizer: what its texts end with is not known."""

    origin, vocab_size = "none", 60


CLIP_CHANGES = [
    ("vision", "num_attention_heads", 2, "heads"),
    ("vision", "num_attention_heads", 8, "heads"),
    ("vision", "hidden_act", "gelu", "quick_gelu"),
    ("vision", "hidden_act", "gelu_new", "quick_gelu"),
    ("vision", "hidden_act", "relu", "quick_gelu"),
    ("vision", "layer_norm_eps", 1e-2, "1e-05"),
    ("vision", "image_size", 17, "image_size"),
    ("text", "num_attention_heads", 2, "heads"),
    ("text", "num_attention_heads", 12, "heads"),
    ("text", "hidden_act", "gelu", "quick_gelu"),
    ("text", "hidden_act", "gelu_pytorch_tanh", "quick_gelu"),
    ("text", "hidden_act", "silu", "quick_gelu"),
    ("text", "layer_norm_eps", 1e-3, "1e-05"),
]


@pytest.mark.parametrize(("side", "key", "value", "ours"), CLIP_CHANGES)
@pytest.mark.parametrize("by", ["import", "from folder", "from file"])
def test_clip_is_refused(
    side: str, key: str, value: Any, ours: str, by: str, tmp_path: Path
) -> None:
    changes = {"vision": {}, "text": {}, side: {key: value}}
    model = clip(changes["vision"], changes["text"])
    model.save_pretrained(tmp_path)
    with pytest.raises(WeightsError) as caught:
        load(by, tmp_path, side)
    message = caught.value.message
    for part in (f"`{key}` is {value!r}", f"{side}_config", ours, f"model.{side}", "config.json"):
        assert part in message, message


def load(by: str, folder: Path, side: str, settings: EngineConfig | None = None) -> Any:
    settings = settings or config(CLIP)
    if by == "import":
        return import_checkpoint(folder, settings)
    source = folder if by == "from folder" else folder / "model.safetensors"
    model = make_model(settings)
    use = getattr(settings.model, side)
    own = type(use.settings).model_validate(
        {**use.settings.model_dump(by_alias=True), "weights": {"from": f"file:{source}"}},
        context={"registry": default_registry()},
    )
    use = type(use)(use.plugin, own)
    return load_tower(getattr(model, side), use, side, lambda line: None), model


@pytest.mark.parametrize("by", ["import", "from folder", "from file"])
def test_what_agrees_is_loaded_and_computes_the_same(by: str, tmp_path: Path) -> None:
    theirs = clip({}, {})
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 16, 16)
    if by == "import":
        found: Built = load(by, tmp_path, "vision")
        assert found.warnings == []
        with torch.no_grad():
            ours = found.model.encode_image(pixels)
    else:
        origin, model = load(by, tmp_path, "vision")
        assert origin.initialised == "loaded"
        assert origin.warnings == ()
        with torch.no_grad():
            ours = model.eval().encode_image(pixels)
    torch.testing.assert_close(ours, images(theirs, pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", ["num_attention_heads", "hidden_act"])
@pytest.mark.parametrize("side", ["vision", "text"])
def test_an_absent_key_is_transformers_default(side: str, key: str, tmp_path: Path) -> None:
    """QuickGELU and 12 (or 8) heads, which the config contradicts here."""
    clip({}, {}).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    stored[f"{side}_config"].pop(key, None)
    path.write_text(json.dumps(stored))
    own = {"quick_gelu": False} if key == "hidden_act" else {}
    text, vision = {**CLIP, **own}, {**VISION, **own}
    with pytest.raises(
        WeightsError, match=rf"model.{side}: `{key}` is .* by the default of transformers"
    ):
        import_checkpoint(tmp_path, config(text, vision))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text_config_dict": {}}, "text_config_dict"),
        ({"vision_config_dict": {"num_attention_heads": 3, "image_size": 16, "patch_size": 8}},
         "`num_attention_heads` is 3"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "modeling.Own"}}, "auto_map"),
        ({"model_type": "siglip"}, "describes a"),
        ({"text_config": {"model_type": "gpt2"}}, "describes a `gpt2`; ClipText computes"),
        ({"text_config": {**READ, "eos_token_id": END, "rope_theta": 10_000}}, "rope_theta"),
        ({"text_config": {**READ, "eos_token_id": END, "is_decoder": True}}, "is_decoder"),
        ({"vision_config": {**SEEN, "use_mean_pooling": True}}, "use_mean_pooling"),
        ({"vision_config": {**SEEN, "layer_scale_init": 0.1}}, "layer_scale_init"),
    ],
)  # fmt: skip
def test_other_settings_of_a_nested_config(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    clip({}, {}).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(tmp_path, config(CLIP))
    assert said in caught.value.message, caught.value.message


@pytest.mark.parametrize(
    "harmless",
    [
        {"is_decoder": False, "add_cross_attention": False, "rope_theta": None, "top_k": 50},
        {"attention_dropout": 0.3, "torch_dtype": "float16", "id2label": {"0": "a"}},
        {"auto_map": {"AutoTokenizer": "x.Y"}, "initializer_range": 0.5, "use_cache": True},
    ],
)
def test_settings_that_change_nothing_are_accepted(harmless: Any, tmp_path: Path) -> None:
    clip({}, {}).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    for part in (stored, stored["text_config"], stored["vision_config"]):
        part |= harmless
    path.write_text(json.dumps(stored))
    assert import_checkpoint(tmp_path, config(CLIP)).warnings == []


# --- BERT and GPT-2, each by itself -------------------------------------------------------------

BERT_CHANGES = [
    ("num_attention_heads", 2, "heads"),
    ("num_attention_heads", 6, "heads"),
    ("hidden_act", "relu", "gelu"),
    ("hidden_act", "gelu_new", "gelu"),
    ("hidden_act", "quick_gelu", "gelu"),
    ("layer_norm_eps", 1e-3, "1e-12"),
    ("is_decoder", True, "false"),
    ("position_embedding_type", "relative_key", "absolute"),
    ("add_cross_attention", True, "false"),
    ("model_type", "roberta", "bert"),
    ("model_type", "electra", "bert"),
    ("directionality", "left", "bidi"),
]
GPT_CHANGES = [
    ("n_head", 2, "heads"),
    ("activation_function", "relu", "gelu_new"),
    ("activation_function", "gelu", "gelu_new"),
    ("layer_norm_epsilon", 1e-3, "1e-05"),
    ("scale_attn_weights", False, "true"),
    ("scale_attn_by_inverse_layer_idx", True, "false"),
    ("model_type", "gpt_neo", "gpt2"),
    ("rotary_dim", 8, "rotary_dim"),
]
CASES = [("bert", *case) for case in BERT_CHANGES] + [("gpt2", *case) for case in GPT_CHANGES]


def text_folder(kind: str, folder: Path) -> Any:
    model = shaken(
        BertModel(BertConfig(**READ)) if kind == "bert" else GPT2Model(GPT2Config(**GPT))
    )
    model.save_pretrained(folder)
    return model


def change(folder: Path, key: str, value: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(("kind", "key", "value", "ours"), CASES)
def test_a_text_encoder_is_refused(
    kind: str, key: str, value: Any, ours: str, tmp_path: Path
) -> None:
    text_folder(kind, tmp_path)
    change(tmp_path, key, value)
    settings = config(BERT if kind == "bert" else GPT_TEXT)
    with pytest.raises(WeightsError) as caught:
        load("from folder", tmp_path, "text", settings)
    theirs = {True: "true", False: "false"}.get(value, repr(value)) if value is not None else ""
    assert theirs.strip("'") in caught.value.message
    assert ours in caught.value.message
    assert str(tmp_path / "config.json") in caught.value.message


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_text_encoder_that_agrees_computes_the_same(kind: str, tmp_path: Path) -> None:
    theirs = text_folder(kind, tmp_path)
    settings = config(BERT if kind == "bert" else GPT_TEXT)
    origin, model = load("from folder", tmp_path, "text", settings)
    assert origin.warnings == ()
    batch = pad_tokens(ROWS, pad_id=0)
    with torch.no_grad():
        ours = model.text.eval()(batch)["pooled"]
        hidden = theirs(**tokens()).last_hidden_state
    place = torch.zeros(3, dtype=torch.int64) if kind == "bert" else batch["mask"].sum(1) - 1
    torch.testing.assert_close(ours, hidden[torch.arange(3), place], rtol=0, atol=2e-5)


def test_the_same_but_for_rounding_is_a_warning(tmp_path: Path) -> None:
    text_folder("gpt2", tmp_path)
    change(tmp_path, "reorder_and_upcast_attn", True)
    origin, _ = load("from folder", tmp_path, "text", config(GPT_TEXT))
    assert "reorder_and_upcast_attn" in origin.warnings[0]


def test_another_name_of_the_same_key(tmp_path: Path) -> None:
    """GPT-2's configs may say ``num_attention_heads``."""
    text_folder("gpt2", tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    del stored["n_head"]
    path.write_text(json.dumps(stored | {"num_attention_heads": 2}))
    with pytest.raises(WeightsError, match=r"is 2 in .*it is 4 by `heads`"):
        load("from folder", tmp_path, "text", config(GPT_TEXT))


@pytest.mark.parametrize("act", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"])
def test_names_of_one_activation(act: str, tmp_path: Path) -> None:
    text_folder("gpt2", tmp_path)
    change(tmp_path, "activation_function", act)
    load("from folder", tmp_path, "text", config(GPT_TEXT))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_dual_encoder_pools_at_the_first_token(pooling: str, tmp_path: Path) -> None:
    from engine_plugins.checkpoint_adapters.transformers_names import POOLER_FACTOR

    model = shaken(
        VisionTextDualEncoderModel(
            VisionTextDualEncoderConfig(
                vision_config={**SEEN, "model_type": "clip_vision_model"},
                text_config={**READ, "model_type": "bert"},
                projection_dim=16,
            )
        )
    )
    with torch.no_grad():
        model.text_model.pooler.dense.weight.copy_(POOLER_FACTOR * torch.eye(24))
        model.text_model.pooler.dense.bias.zero_()
    model.save_pretrained(tmp_path)
    settings = config({**BERT, "pooling": pooling})
    if pooling == "first":
        import_checkpoint(tmp_path, settings)
    else:
        with pytest.raises(WeightsError, match="is 'mean' by `pooling`"):
            import_checkpoint(tmp_path, settings)


@pytest.mark.parametrize(
    ("pooling", "stored", "fits"),
    [
        ("first", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, True),
        ("mean", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, True),
        ("first", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, False),
        ("mean", {"pooling_mode": "cls"}, False),
        ("mean", {"pooling_mode": "mean"}, True),
        ("mean", {"pooling_mode_max_tokens": True}, False),
        ("first", {"pooling_mode_lasttoken": True}, False),
    ],
)
def test_the_pooling_of_a_sentence_encoder(
    pooling: str, stored: dict[str, Any], fits: bool, tmp_path: Path
) -> None:
    text_folder("bert", tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(stored))
    settings = config({**BERT, "pooling": pooling})
    if fits:
        load("from folder", tmp_path, "text", settings)
    else:
        with pytest.raises(WeightsError, match="1_Pooling"):
            load("from folder", tmp_path, "text", settings)


def test_weights_in_half_a_folder(tmp_path: Path) -> None:
    """Without a description BERT has nothing to be held against."""
    model = shaken(BertModel(BertConfig(**READ)))
    save_file({n: t.clone() for n, t in model.state_dict().items()}, tmp_path / "model.safetensors")
    origin, _ = load("from folder", tmp_path, "text", config(BERT))
    assert origin.warnings == ()

"""`siglip` and `mobileclip`: the numbers of open_clip's and transformers' own models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from engine.contracts import PluginRef, State, TextEncoder
from engine.contracts.description import Description
from engine.core.descriptions import check, describe_weights, differences
from engine.core.size import plan_of_module, tower_plan
from engine.errors import WeightsError
from engine_plugins.clip_archs import arch_names, padded_text_numbers

from ..siglip_models import (
    OPEN_CLIP_TEXT,
    TEXT,
    mobile_clip,
    open_clip_siglip,
    transformers_siglip,
)

MakeUse = Callable[..., PluginRef]
BatchOf = Callable[..., State]
Shaken = Callable[..., Any]
LENGTHS = [12, 3, 1, 7, 5, 11, 2, 9]
TRAINED = {"tokenizer": {"use": "trained"}}
MOBILE = {**TEXT, "embed_width": 24, "arch": None, "pooling": "end", "project": "matrix",
          "norm_eps": 1e-5, **TRAINED}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def tower_of(make_use: MakeUse, name: str = "siglip", **settings: Any) -> TextEncoder:
    tower: TextEncoder = make_use("text_encoder", name, **{**TEXT, **TRAINED, **settings}).create()
    return tower.eval()


def filled(state: State, pad: int, length: int = 12) -> Tensor:
    """The ids as the originals want them, padded to the full length."""
    ids = state["ids"].masked_fill(~state["mask"], pad)
    return torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=pad)


def check_same(tower: TextEncoder, expected: Tensor, state: State) -> None:
    found = tower(state)["pooled"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert expected.std(dim=0).max() > 1e-3
    images = torch.randn(50, expected.shape[1])
    assert torch.equal((images @ found.T).argmax(1), (images @ expected.T).argmax(1))
    for row in (1, 4):  # alone, without padding
        length = int(state["mask"][row].sum())
        alone = {name: tensor[[row], :length] for name, tensor in state.items()}
        torch.testing.assert_close(tower(alone)["pooled"], expected[[row]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_features_are_open_clips_siglip(
    tanh: bool, whole: bool, make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    theirs = shaken(open_clip_siglip(tanh=tanh))
    tower = tower_of(make_use, activation="gelu_tanh" if tanh else "gelu", pad_id=1)
    tower.load_weights((theirs if whole else theirs.text).state_dict(), "open_clip")
    state = batch_of(LENGTHS, 90)
    check_same(tower, theirs.encode_text(filled(state, 1)), state)


@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu", "quick_gelu"])
def test_features_are_transformers_siglip(
    act: str, make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    theirs = shaken(transformers_siglip(hidden_act=act))
    own = {"gelu_pytorch_tanh": "gelu_tanh"}.get(act, act)
    tower = tower_of(make_use, activation=own, pad_id=0)
    tower.load_weights(theirs.state_dict(), "transformers")
    state = batch_of(LENGTHS, 90)
    found = theirs.get_text_features(input_ids=filled(state, 0))
    check_same(tower, getattr(found, "pooler_output", found), state)


def test_features_are_open_clips_mobileclip(
    make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    theirs = shaken(mobile_clip())
    tower = tower_of(make_use, "mobileclip", **MOBILE)
    tower.load_weights(theirs.state_dict(), "open_clip")
    state = batch_of(LENGTHS, 80)
    ends = state["mask"].sum(dim=1) - 1
    state["ids"][range(len(ends)), ends] = 89  # CLIP's end mark is its largest id
    check_same(tower, theirs.encode_text(filled(state, 0)), state)


@pytest.mark.parametrize("arch", [a for a in arch_names() if "SigLIP" in a or "MobileCLIP" in a])
def test_numbers_of_an_arch_are_open_clips(arch: str, make_use: MakeUse) -> None:
    if not open_clip.get_model_config(arch)["text_cfg"].get("no_causal_mask"):
        with pytest.raises(ValueError, match="another sort"):
            padded_text_numbers(arch)  # with the causal mask: `openai_clip`
        return
    name = "siglip" if "SigLIP" in arch else "mobileclip"
    config = open_clip.get_model_config(arch)
    use = make_use("text_encoder", name, arch=arch)
    with torch.device("meta"):
        tower = use.create()
        theirs = open_clip.model._build_text_tower(config["embed_dim"], config["text_cfg"])
    assert tower_plan(use).tensors == plan_of_module(tower)
    shapes = {n: tuple(t.shape) for n, t in theirs.state_dict().items() if n != "attn_mask"}
    assert {n: tuple(t.shape) for n, t in tower.state_dict().items()} == shapes
    block = theirs.transformer.resblocks[0]
    own = tower.transformer.block(0)
    assert own.attn.heads == block.attn.num_heads
    assert own.ln_1.eps == block.ln_1.eps == tower.ln_final.eps == theirs.ln_final.eps
    assert type(own.mlp.gelu) is type(block.mlp.gelu)
    assert own.mlp.gelu.approximate == block.mlp.gelu.approximate
    described = Description("open_clip", "clip", arch, config["text_cfg"])
    assert check({"model.text": differences(tower, [described])}, arch)
    if name == "siglip":
        second = "SigLIP2" in arch
        assert use.settings.tokenizer.name == ("gemma" if second else "t5")
        assert use.settings.padding_id() == (0 if second else 1)
        assert use.settings.tokenizer.settings.from_ == f"hf:timm/{arch}".replace(
            arch, config["text_cfg"]["hf_tokenizer_name"].removeprefix("timm/")
        )


def _open_clip_folder(folder: Path, **changed: Any) -> None:
    values = {"model_cfg": {"embed_dim": 48, "text_cfg": {**OPEN_CLIP_TEXT, **changed}}}
    (folder / "open_clip_config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"heads": 6}, "heads"),
        ({"act_kwargs": {"approximate": "tanh"}}, "act_kwargs"),
        ({"norm_kwargs": None}, "norm_kwargs"),
        ({"norm_kwargs": {"eps": 1e-5}}, "norm_kwargs"),
        ({"no_causal_mask": False}, "no_causal_mask"),
        ({"pool_type": "argmax"}, "pool_type"),
        ({"proj_bias": False}, "proj_bias"),
        ({"context_length": 16}, "context_length"),
        ({"qk_norm": True}, "qk_norm"),
    ],
)
def test_a_wrong_open_clip_folder_is_refused_by_name(
    changed: dict[str, Any], named: str, tmp_path: Path, make_use: MakeUse
) -> None:
    tower = tower_of(make_use)
    source = f"file:{tmp_path}"
    _open_clip_folder(tmp_path)
    check({"model.text": differences(tower, describe_weights(source, "text"))}, source)
    _open_clip_folder(tmp_path, **changed)
    with pytest.raises(WeightsError, match=named):
        check({"model.text": differences(tower, describe_weights(source, "text"))}, source)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps"),
        ({"max_position_embeddings": 16}, "max_position_embeddings"),
        ({"model_type": "bert"}, "bert"),
        ({"rope_theta": 10000.0}, "rope_theta"),
    ],
)
def test_a_wrong_transformers_folder_is_refused_by_name(
    changed: dict[str, Any], named: str, tmp_path: Path, make_use: MakeUse
) -> None:
    tower = tower_of(make_use, activation="gelu_tanh")
    source = f"file:{tmp_path}"
    transformers_siglip().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    check({"model.text": differences(tower, describe_weights(source, "text"))}, source)
    values["text_config"] |= changed
    path.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=named):
        check({"model.text": differences(tower, describe_weights(source, "text"))}, source)


def test_an_absent_key_means_transformers_default(tmp_path: Path, make_use: MakeUse) -> None:
    tower = tower_of(make_use, activation="gelu")
    values = {"model_type": "siglip", "text_config": {"num_attention_heads": 4,
                                                      "max_position_embeddings": 12}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="gelu_pytorch_tanh"):
        source = f"file:{tmp_path}"
        check({"model.text": differences(tower, describe_weights(source, "text"))}, source)


def test_settings_that_do_not_fit(make_use: MakeUse) -> None:
    for wrong, message in (({"heads": 5}, "multiple"), ({"pad_id": 90}, "pad_id"),
                           ({"arch": "ViT-B-32"}, "another sort"),
                           ({"arch": "ViT-B-16-SigLIQ"}, "SigLIP")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make_use("text_encoder", "siglip", **{**TEXT, **TRAINED, **wrong})

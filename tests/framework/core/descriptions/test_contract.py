"""A third party's tower: its tables, its own method, or neither; artifacts; the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.activations import ACT2FN
from transformers.models.bert import BertConfig
from transformers.models.gpt2 import GPT2Config

import engine.core.descriptions.files as files
from engine.contracts import Description, Difference, Fact, Table
from engine.contracts.description import ABSENT, NOTHING, compare, same_activation, shown
from engine.core.build import assemble, save
from engine.core.descriptions import check, describe_weights, differences
from engine.core.making import make_model
from engine.errors import WeightsError
from engine_plugins import clip_described
from engine_plugins.text import tables
from engine_plugins.text.bpe import BpeText
from engine_plugins.vision.small_vit import SmallVit

from .loading import config, load, stored

VIT = {"use": "small_vit", "image_size": 16, "convolutions": 2, "width": 16, "layers": 1,
       "heads": 2}  # fmt: skip
BPE = {"use": "bpe_transformer", "vocab_size": 60, "max_tokens": 9, "width": 16, "layers": 1,
       "heads": 2, "tokenizer": {"use": "trained"}}  # fmt: skip


class Own(SmallVit):
    """With a table of another program."""

    described: ClassVar[tuple[Table, ...]] = (
        Table("transformers", ("my_vit",), (
            Fact("num_heads", lambda t: t.settings.heads, "heads", 4),
            Fact("mlp.act", lambda t: "gelu", default="gelu", same=same_activation),
            Fact("note", lambda t: "x", refuse=False),
        ), ("pool_for_nothing",)),
    )  # fmt: skip


class Method(SmallVit):
    """With a method of its own."""

    described: ClassVar[tuple[Table, ...]] = ()

    def described_by(self, description: Description) -> list[Difference]:
        return [Difference(f"{description.kind} from {description.place}")]


class Neither(SmallVit):
    """Which says nothing of other programs."""

    described: ClassVar[tuple[Table, ...]] = ()


def tower(kind: type[SmallVit]) -> SmallVit:
    made = make_model(config(vision=VIT)).vision
    made.__class__ = kind
    return made  # type: ignore[return-value]


def held(kind: type[SmallVit], folder: Path) -> list[str]:
    found = differences(tower(kind), describe_weights(f"file:{folder}", "vision"))
    return check({"model.vision": found}, "it")["model.vision"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_heads": 3}, "`num_heads` is 3"),
        ({}, "`num_heads` is 4 by the default of transformers"),
        ({"num_heads": "2"}, "`num_heads` is '2'"),
        ({"num_heads": True}, "`num_heads` is true"),
        ({"num_heads": 2, "mlp": {"act": "relu"}}, "`mlp.act` is 'relu'"),
        ({"num_heads": 2, "rope_theta": 1e4}, "does not know that setting"),
        ({"num_heads": 2, "mean_pooling": True}, "does not know that setting"),
        ({"num_heads": 2, "model_type": "vit"}, "describes a `vit`; Own computes `my_vit`"),
    ],
)
def test_a_table_refuses(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "my_vit", **values}))
    with pytest.raises(WeightsError) as caught:
        held(Own, tmp_path)
    assert said in caught.value.message


def test_a_table_warns_and_accepts(tmp_path: Path) -> None:
    values = {"model_type": "my_vit", "num_heads": 2, "pool_for_nothing": 3, "note": "y"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (said,) = held(Own, tmp_path)
    assert "`note` is 'y'" in said


def test_a_method_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abc"}))
    with pytest.raises(WeightsError, match="abc from"):
        held(Method, tmp_path)


def test_without_either_the_user_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abc"}))
    (said,) = held(Neither, tmp_path)
    assert "was not compared with the config: Neither" in said
    assert held(Neither, tmp_path / "nowhere") == []


@given(
    st.dictionaries(
        st.sampled_from(["model_type", "num_heads", "mlp", "hidden_act", "rope", "text_config",
                         "vision_config", "architectures", "auto_map", "architecture", "model_cfg",
                         "pretrained_cfg", "model_args", "image_resolution"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3),
            max_leaves=6,
        ),
    )
)  # fmt: skip
def test_any_json_object_is_held_without_a_traceback(values: dict[str, Any]) -> None:
    from engine.core.descriptions.programs import of_file

    for side in ("vision", "text"):
        for name in files.BESIDE_WEIGHTS:
            for one in of_file(name, values, side, "F"):
                for some in (clip_described.VISION, clip_described.TEXT, tables.BERT, tables.GPT):
                    compare(_Any(), some, one)


class _Any:
    """A tower whose settings hold anything that a table asks for."""

    class settings:
        heads, width, image_size, patch_size, quick_gelu, pooling = 2, 4, 8, 4, True, "first"
        mean = std = (0.5, 0.5, 0.5)
        norm_eps, activation, max_tokens, project, position_offset = 1e-5, "gelu", 8, "none", 2


@pytest.mark.parametrize("value", [None, True, False, 3, 1e-5, "x", [1, 2], {"a": "b\n\x1b[0m"}])
def test_values_are_shown_on_one_line(value: Any) -> None:
    text = shown(value)
    assert text.isprintable()
    assert len(shown([value] * 500)) <= 80


DEFAULTS = [
    (clip_described.TEXT[0], CLIPTextConfig()), (clip_described.VISION[0], CLIPVisionConfig()),
    (tables.BERT[0], BertConfig()), (tables.GPT[0], GPT2Config()),
]  # fmt: skip


@pytest.mark.parametrize(("table", "theirs"), DEFAULTS)
def test_defaults_are_transformers_own(table: Table, theirs: Any) -> None:
    known = [fact for fact in table.facts if fact.default is not ABSENT]
    held = [fact for fact in known if hasattr(theirs, fact.key)]
    assert len(held) >= 3
    for fact in held:
        assert fact.default == getattr(theirs, fact.key), fact.key


NAMES = ["gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate",
         "quick_gelu", "silu", "swish", "relu", "mish", "gelu_10"]  # fmt: skip


@pytest.mark.parametrize("one", NAMES)
def test_one_activation_under_several_names(one: str) -> None:
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    for other in NAMES:
        apart = (ACT2FN[one](x) - ACT2FN[other](x)).abs().max()
        assert same_activation(one, other) is bool(apart < 1e-6), (one, other, apart)


# --- an artifact ----------------------------------------------------------------------------------


def artifact(path: Path, **own: dict[str, Any]) -> Path:
    settings = config(vision={**VIT, **own.get("vision", {})}, text={**BPE, **own.get("text", {})})
    built = assemble(settings, make_model(settings), _tokenizer(settings), {})
    save(built, path)
    return path


def _tokenizer(settings: Any) -> Any:
    use = settings.model.text.settings.tokenizer
    return use.target()._trained(use.settings, lambda: ["a b c", "кот и пёс"] * 3, 60, "")


@pytest.mark.parametrize(
    ("side", "key", "value"),
    [("vision", "heads", 4), ("text", "heads", 4), ("text", "attention", "full"),
     ("text", "pooling", "mean")],
)  # fmt: skip
def test_an_artifact_s_own_settings(side: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a")
    base = {"vision": VIT, "text": BPE}[side]
    source = {"weights": {"from": f"artifact:{folder}"}}
    assert load(config(**{side: {**base, **source}}), side)[0].warnings == ()
    with pytest.raises(WeightsError, match=rf"`{key}` is .*config\.yaml, model\.{side}"):
        load(config(**{side: {**base, **source, key: value}}), side)


def test_another_mean_than_the_artifact_s_is_a_warning(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a")
    other = {**VIT, "weights": {"from": f"artifact:{folder}"}, "mean": (0.1, 0.2, 0.3)}
    (said,) = load(config(vision=other), "vision")[0].warnings
    assert "`mean` is [0.5, 0.5, 0.5]" in said


# --- the hub --------------------------------------------------------------------------------------


def test_weights_of_the_hub_are_held_against_the_cached_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    from .test_transformers import BERT, READ, change, text_folder

    text_folder("bert", tmp_path)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, name, **_: str(tmp_path / name) if (tmp_path / name).is_file() else None,
    )
    text = {**BERT, "weights": {"from": "hf:owner/name"}}
    assert READ["num_attention_heads"] == text["heads"]
    assert load(config(text=text), "text")[0].warnings == ()
    change(tmp_path, "hidden_act", "relu")
    with pytest.raises(WeightsError, match=r"`hidden_act` is 'relu'"):
        load(config(text=text), "text")
    (tmp_path / "config.json").unlink()
    assert load(config(text=text), "text")[0].warnings == ()  # nothing is known of it


def test_a_description_of_nothing(tmp_path: Path) -> None:
    save_file(stored(tower(Neither)), tmp_path / "model.safetensors")
    (one,) = describe_weights(f"file:{tmp_path}", "vision")
    assert (one.program, one.aside) == (NOTHING, False)


def test_bpe_and_small_vit_are_engine_s_own() -> None:
    for kind in (BpeText, SmallVit):
        assert [table.program for table in kind.described] == ["engine"]

"""Settings of the text encoders: what they are by default, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from engine.contracts import PluginRef

MakeUse = Callable[..., PluginRef]

TRANSFORMERS = ["gpt3small", "rubert", "bpe_transformer"]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        # transformers' GPT2Model and BertModel (without pooler) of these sizes have as many
        ("gpt3small", 125_231_616),
        ("rubert", 177_262_848),
        # table, positions, 4 blocks of 12 W^2 + 13 W, last norm
        ("bpe_transformer", 200_000 * 200 + 77 * 200 + 4 * (12 * 200**2 + 13 * 200) + 400),
        # table, 6 layers with bias, norms with statistics and counters
        ("bag_of_tokens", 200_000 * 200 + 6 * (200**2 + 200 + 4 * 200 + 1)),
    ],
)
def test_the_weight_of_the_defaults(name: str, numbers: int, make_use: MakeUse) -> None:
    plan = make_use("text_encoder", name).settings.plan()
    assert sum(math.prod(tensor.shape) for tensor in plan.tensors.values()) == numbers


@pytest.mark.parametrize(
    ("name", "tokenizer", "source"),
    [
        ("gpt3small", "gpt2_bpe", "hf:ai-forever/rugpt3small_based_on_gpt2"),
        ("rubert", "wordpiece", "hf:DeepPavlov/rubert-base-cased"),
        ("bpe_transformer", "sentencepiece", "scratch"),
        ("bag_of_tokens", "sentencepiece", "scratch"),
    ],
)
def test_the_tokenizer_of_the_defaults(
    name: str, tokenizer: str, source: str, make_use: MakeUse
) -> None:
    own = make_use("text_encoder", name).settings.tokenizer
    assert (own.name, own.settings.from_) == (tokenizer, source)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_heads_that_do_not_divide_the_width(name: str, make_use: MakeUse) -> None:
    with pytest.raises(ValidationError, match="width 20 is not a multiple of heads 3"):
        make_use("text_encoder", name, width=20, heads=3)


@pytest.mark.parametrize("name", ["gpt3small", "rubert"])
def test_texts_longer_than_the_position_table(name: str, make_use: MakeUse) -> None:
    with pytest.raises(ValidationError, match="max_tokens 65 is more than n_positions 64"):
        make_use("text_encoder", name, max_tokens=65, n_positions=64)
    made = make_use("text_encoder", name, max_tokens=64, n_positions=64)
    assert made.settings.max_tokens == 64


@pytest.mark.parametrize("name", [*TRANSFORMERS, "bag_of_tokens"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", 0), ("width", 0), ("vocab_size", 0), ("max_tokens", 1), ("layers", "many"),
        ("tokenizer", {"use": "nonesuch"}), ("pooling", "biggest"), ("dropout", 0.1),
    ],
)  # fmt: skip
def test_what_is_refused(name: str, key: str, value: Any, make_use: MakeUse) -> None:
    with pytest.raises(ValidationError) as refusal:
        make_use("text_encoder", name, **{key: value})
    assert [error["loc"][0] for error in refusal.value.errors()] == [key]


def test_the_hidden_width_is_rounded(make_use: MakeUse) -> None:
    """So that a ratio with a few digits names any width: rubert-tiny2 has 312 and 600."""
    tiny = make_use("text_encoder", "rubert", width=312, heads=12, layers=3, mlp_ratio=1.923)
    assert tiny.settings.plan().tensors["encoder.layer.2.intermediate.dense.bias"].shape == (600,)


@pytest.mark.parametrize("name", [*TRANSFORMERS, "bag_of_tokens"])
def test_settings_survive_the_config(name: str, make_use: MakeUse) -> None:
    use = make_use("text_encoder", name)
    written = use.to_config()
    assert written.pop("use") == name
    assert make_use("text_encoder", name, **written) == use

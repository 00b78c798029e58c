"""Identity, linear, residual: the formulas, the plans, and what is said where widths differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from engine.contracts import PluginRef
from engine.core.build import build, save
from engine.core.config import load_config
from engine.core.size import plan_of_module
from engine.errors import ConfigError, WeightsError

from .conftest import IN, OUT, residual


def test_linear_is_one_matrix(make: Callable[..., Any]) -> None:
    x = torch.randn(4, IN)
    plain, biased = make("linear"), make("linear", bias=True)
    assert set(plain.state_dict()) == {"linear.weight"}
    torch.testing.assert_close(plain.project(x), x @ plain.linear.weight.T)
    torch.testing.assert_close(biased.project(x), x @ biased.linear.weight.T + biased.linear.bias)


def test_residual_is_ruclips_formula(make: Callable[..., Any]) -> None:
    projection = make("residual")
    names = {"linear1.weight", "linear2.weight", "layer_norm.weight", "layer_norm.bias"}
    assert set(projection.state_dict()) == names
    x = torch.randn(5, IN)
    expected = torch.stack([residual(projection.state_dict(), row) for row in x])
    torch.testing.assert_close(projection({"pooled": x})["embedding"], expected)


def test_a_hidden_width_puts_a_matrix_before_the_gate(make: Callable[..., Any]) -> None:
    projection = make("residual", hidden_width=7)
    tensors = projection.state_dict()
    assert tensors["hidden.weight"].shape == (7, OUT)
    x = torch.randn(5, IN)
    first = x @ tensors["linear1.weight"].T
    hidden = first @ tensors["hidden.weight"].T
    second = (hidden * torch.sigmoid(1.702 * hidden)) @ tensors["linear2.weight"].T
    weight, bias = tensors["layer_norm.weight"], tensors["layer_norm.bias"]
    expected = functional.layer_norm(first + second, (OUT,), weight, bias)
    torch.testing.assert_close(projection.project(x), expected)


def test_the_hidden_matrix_is_the_identity_of_ruclips_formula(make: Callable[..., Any]) -> None:
    plain, wide = make("residual"), make("residual", hidden_width=OUT)
    wide.load_state_dict({**plain.state_dict(), "hidden.weight": torch.eye(OUT)})
    x = torch.randn(3, IN)
    torch.testing.assert_close(wide.project(x), plain.project(x))


def test_dropout_falls_on_the_second_matrix_alone(make: Callable[..., Any]) -> None:
    projection = make("residual").train()
    x = torch.randn(3, IN)
    first = projection.linear1(x)
    second = projection.linear2(first * torch.sigmoid(1.702 * first))
    torch.manual_seed(7)
    expected = projection.layer_norm(first + functional.dropout(second, 0.5))
    torch.manual_seed(7)
    torch.testing.assert_close(projection.project(x), expected)
    assert make("residual", dropout=0).train().dropout.p == 0


def test_the_state_is_not_changed(make: Callable[..., Any]) -> None:
    state = {"pooled": torch.randn(2, IN), "other": torch.zeros(2)}
    before = dict(state)
    out = make("linear")(state)
    assert state == before
    assert set(out) == {"pooled", "other", "embedding"}
    assert out["embedding"].shape == (2, OUT)


def test_identity_gives_the_features(make_use: Callable[..., PluginRef]) -> None:
    x = torch.randn(2, 4)
    use = make_use("projection", "identity")
    assert use.create(4, 4)({"pooled": x})["embedding"] is x
    assert use.settings.plan(4, 4, None) == {}


def test_identity_names_both_widths(make_use: Callable[..., PluginRef]) -> None:
    use = make_use("projection", "identity")
    for ask in (use.create, lambda a, b: use.settings.plan(a, b, None)):
        with pytest.raises(ConfigError, match=r"512 wide.*1024 wide") as caught:
            ask(512, 1024)
        assert "model.embed_dim to 512" in str(caught.value.hint)


widths = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(widths, widths, st.sampled_from([("linear", {}), ("linear", {"bias": True}),
                                        ("residual", {"dropout": 0.1}),
                                        ("residual", {"hidden_width": 5})]))  # fmt: skip
def test_plans_are_exact(
    make_use: Callable[..., PluginRef],
    in_width: int,
    out_width: int,
    kind: tuple[str, dict[str, Any]],
) -> None:
    use = make_use("projection", kind[0], **kind[1])
    with torch.device("meta"):
        built = use.create(in_width, out_width)
    assert use.settings.plan(in_width, out_width, None) == plan_of_module(built)


@pytest.mark.parametrize("width", [0, -3, "wide"])
def test_bad_hidden_width(make_use: Callable[..., PluginRef], width: object) -> None:
    with pytest.raises(ValueError, match="hidden_width"):
        make_use("projection", "residual", hidden_width=width)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "much"])
def test_bad_dropout(make_use: Callable[..., PluginRef], dropout: object) -> None:
    with pytest.raises(ValueError, match="dropout"):
        make_use("projection", "residual", dropout=dropout)


def test_the_matrix_of_another_model(tmp_path: Path, make_use: Callable[..., PluginRef]) -> None:
    """`start` takes it from an artifact; what does not fit is refused by name."""
    config = load_config(Path(__file__).parents[3] / "configs" / "tiny" / "sber.yaml",
                         ["model.projection.vision={use: linear, bias: true}"])  # fmt: skip
    built = build(config)
    save(built, tmp_path / "model")
    right, vision = built.model.vision_projection, built.model.vision
    start = {"artifact": str(tmp_path / "model"), "side": "vision"}
    widths = (right.in_width, right.out_width)
    other = make_use("projection", "linear", bias=True, start=start).create(*widths)
    assert str(tmp_path / "model") in other.fit(vision)
    for name, tensor in right.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert make_use("projection", "linear").create(*widths).fit(vision) == ""
    for bias, wide in ((False, 0), (True, 1)):
        wrong = make_use("projection", "linear", bias=bias, start=start)
        with pytest.raises(WeightsError, match="vision projection"):
            wrong.create(widths[0], widths[1] + wide).fit(vision)
    missing = {**start, "artifact": str(tmp_path / "nowhere")}
    with pytest.raises(WeightsError, match="nowhere"):
        make_use("projection", "linear", start=missing).create(*widths).fit(vision)

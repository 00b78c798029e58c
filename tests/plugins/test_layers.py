"""Shared layers against PyTorch's own: nn.MultiheadAttention, nn.TransformerEncoderLayer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.core.size import plan_of_module
from engine_plugins import plans
from engine_plugins.layers import (
    ClipAttention,
    ClipBlock,
    ClipTransformer,
    Places,
    QuickGelu,
    causal_to,
    clip_blocks,
)

calm = settings(deadline=None, max_examples=40)
shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99)
)  # rows, length, heads, width of a head, seed


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def pair(heads: int, head_width: int, seed: int) -> tuple[ClipAttention, nn.MultiheadAttention]:
    """Ours and PyTorch's with the same random weights, biases too."""
    torch.manual_seed(seed)
    width = heads * head_width
    ours, theirs = ClipAttention(width, heads), nn.MultiheadAttention(width, heads)
    for tensor in ours.parameters():
        nn.init.normal_(tensor, std=0.5)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def ask(theirs: nn.MultiheadAttention, x: Tensor, **masks: Tensor) -> Tensor:
    out, _ = theirs(*(x.transpose(0, 1),) * 3, need_weights=False, **masks)
    return out.transpose(0, 1)


@calm
@given(shapes)
def test_attention_is_pytorchs(shape: tuple[int, int, int, int, int]) -> None:
    rows, length, heads, head_width, seed = shape
    ours, theirs = pair(heads, head_width, seed)
    x = torch.randn(rows, length, heads * head_width)
    close(ours(x), ask(theirs, x))
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    close(ours(x, causal=True), ask(theirs, x, attn_mask=hidden))
    mask = torch.rand(rows, length) < 0.6
    mask[:, 0] = True  # each row has something to look at
    close(ours(x, mask=mask), ask(theirs, x, key_padding_mask=~mask))


@calm
@given(shapes, st.data())
def test_at_is_forward_at_one_place(
    shape: tuple[int, int, int, int, int], data: st.DataObject
) -> None:
    rows, length, heads, head_width, seed = shape
    torch.manual_seed(seed)
    width = heads * head_width
    block = ClipBlock(width, heads, 2 * width)
    x = torch.randn(rows, length, width)
    places = st.lists(st.integers(0, length - 1), min_size=rows, max_size=rows)
    place = torch.tensor(data.draw(places))
    row = torch.arange(rows)
    mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    seen = causal_to(place, length)
    for layer in (block.attn, block):
        close(layer.at(x, place), layer(x)[row, place])
        close(layer.at(x, place, mask=mask), layer(x, mask=mask)[row, place])
        close(layer.at(x, place, mask=seen), layer(x, causal=True)[row, place])


def test_causal_to() -> None:
    expected = [[True, False, False, False], [True, True, True, False], [True] * 4]
    assert causal_to(torch.tensor([0, 2, 3]), 4).tolist() == expected


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_block_is_a_pre_norm_transformer_layer(quick_gelu: bool) -> None:
    torch.manual_seed(0)
    ours = ClipBlock(24, 3, 40, activation="quick_gelu" if quick_gelu else "gelu")
    for tensor in ours.parameters():
        nn.init.normal_(tensor, std=0.3)
    theirs = nn.TransformerEncoderLayer(
        24, 3, 40, dropout=0.0, batch_first=True, norm_first=True,
        activation=QuickGelu() if quick_gelu else "gelu",
    )  # fmt: skip
    names = {"ln_1": "norm1", "ln_2": "norm2", "attn": "self_attn", "mlp.c_fc": "linear1",
             "mlp.c_proj": "linear2"}  # fmt: skip
    renamed = {}
    for name, tensor in ours.state_dict().items():
        start = next(own for own in names if name.startswith(f"{own}."))
        renamed[names[start] + name[len(start) :]] = tensor
    theirs.load_state_dict(renamed, strict=True)
    x = torch.randn(5, 7, 24)
    close(ours(x), theirs(x))
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    close(ours(x, causal=True), theirs(x, src_mask=hidden, is_causal=True))
    mask = torch.arange(7) < torch.tensor([[7], [1], [3], [6], [2]])
    close(ours(x, mask=mask)[mask], theirs(x, src_key_padding_mask=~mask)[mask])


def test_quick_gelu() -> None:
    x = torch.linspace(-6, 6, 101)
    expected = x / (1 + torch.exp(-1.702 * x))
    close(QuickGelu()(x), expected)
    assert (QuickGelu()(x) - nn.functional.gelu(x)).abs().max() < 0.021  # it approximates GELU
    assert (QuickGelu()(x) - nn.functional.gelu(x)).abs().max() > 0.01  # and is not GELU


def test_gradients_flow_through_at() -> None:
    torch.manual_seed(0)
    block = ClipBlock(12, 2, 24)
    x = torch.randn(3, 5, 12)
    place = torch.tensor([4, 0, 2])

    def gradients(take: bool) -> list[Tensor]:
        block.zero_grad()
        with torch.enable_grad():
            given = x.clone().requires_grad_()
            seen = causal_to(place, 5)
            out = (
                block.at(given, place, mask=seen)
                if take
                else block(given, causal=True)[torch.arange(3), place]
            )
            out.square().sum().backward()
        assert given.grad is not None
        return [given.grad, *(p.grad.clone() for p in block.parameters() if p.grad is not None)]

    for ours, whole in zip(gradients(True), gradients(False), strict=True):
        close(ours, whole)


def test_blocks_start_as_clips_do() -> None:
    """Deviations W^-1/2 for what goes in, falling with depth for what comes out."""
    torch.manual_seed(0)
    width, layers = 128, 5
    blocks = clip_blocks(width, layers, 4, 4 * width)
    assert len(blocks) == layers
    out = width**-0.5 * (2 * layers) ** -0.5
    wanted = {"attn.in_proj_weight": width**-0.5, "attn.out_proj.weight": out,
              "mlp.c_fc.weight": (2 * width) ** -0.5, "mlp.c_proj.weight": out}  # fmt: skip
    for block in blocks:
        for name, std in wanted.items():
            assert block.get_parameter(name).std().item() == pytest.approx(std, rel=0.05)
        for name, tensor in block.named_parameters():
            if name not in wanted and name.endswith("bias"):
                # PyTorch starts the biases of a linear layer near 0, the others at 0.
                assert tensor.abs().max() <= width**-0.5
    assert len(clip_blocks(8, 0, 1, 8)) == 0


def test_the_plan_of_a_block() -> None:
    for width, mlp_width in ((12, 48), (8, 9)):
        expected = plan_of_module(ClipBlock(width, 2, mlp_width))
        assert plans.prefixed("x", expected) == plans.clip_block("x", width, mlp_width)


def test_the_transformer_names_its_blocks_as_clip_does() -> None:
    transformer = ClipTransformer(8, 2, 2, 16)
    assert "resblocks.1.attn.in_proj_weight" in transformer.state_dict()
    assert transformer.block(1) is transformer.resblocks[1]


@calm
@given(shapes, st.booleans())
def test_blocks_of_the_places_that_differ(
    shape: tuple[int, int, int, int, int], with_ids: bool
) -> None:
    rows, length, heads, head_width, seed = shape
    torch.manual_seed(seed)
    width = heads * head_width
    ids = torch.randint(0, 2, (rows, length))
    mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    x = nn.Embedding(2, width)(ids) + torch.randn(length, width)
    places = Places(ids if with_ids else None, mask)
    starts = {tuple(row[: place + 1]) for row, own in zip(ids.tolist(), mask, strict=True)
              for place in range(int(own.sum()))}  # fmt: skip
    assert len(places) == (len(starts) if with_ids else mask.sum())
    taken = places.take(x)
    assert len(taken) == len(places)
    close(places.spread(taken)[mask], x[mask])
    whole = x
    for block in clip_blocks(width, 2, heads, 8):
        taken, whole = block(taken, causal=True, places=places), block(whole, causal=True)
    close(places.spread(taken)[mask], whole[mask])
    assert places.spread(taken).isfinite().all()


def test_places_are_left_out_where_that_pays() -> None:
    ids, mask = torch.arange(16).view(2, 8), torch.arange(8) < torch.tensor([[8], [3]])
    assert len(Places.of(ids, mask) or "") == 11
    assert len(Places.of(None, mask) or "") == 11
    assert len(Places.of(torch.zeros(2, 8, dtype=torch.int64), mask) or "") == 8
    full = torch.ones(3, 8, dtype=torch.bool)
    assert Places.of(torch.arange(24).view(3, 8), full) is None
    assert Places.of(None, full) is None
    assert Places.of(ids[:1], mask[1:]) is None
    with torch.enable_grad():
        assert Places.of(ids, mask) is None
    assert Places.of(ids.to("meta"), mask.to("meta")) is None

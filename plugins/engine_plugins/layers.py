"""Layers that several built-in towers share, under the tensor names of OpenAI CLIP.

Source of the architecture: github.com/openai/CLIP (pre-norm transformer blocks, QuickGELU).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import take_place


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)``, OpenAI CLIP's approximation of GELU. Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        """The activation of ``x``, of the same shape."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return x * torch.sigmoid(1.702 * x)
        return (1.702 * x).sigmoid_().mul_(x)  # the same numbers, in one new tensor


Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
"""``gelu_tanh`` is the approximation that transformers calls ``gelu_pytorch_tanh``."""


def activation_of(name: Activation) -> nn.Module:
    """The module of an activation function. Any shape."""
    if name == "quick_gelu":
        return QuickGelu()
    return nn.GELU(approximate="tanh" if name == "gelu_tanh" else "none")


def random_parameter(std: float, *shape: int) -> nn.Parameter:
    """Normal numbers around 0. By ``nn.init``, which reading an artifact leaves out."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=std))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    causal: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention of several heads, without its input and output matrices.

    Args:
        query: [B, Q, W], the heads side by side; W divisible by ``heads``.
        key: [B, L, W].
        value: [B, L, W].
        heads: number of heads.
        causal: place i sees the places 0 to i; Q is L.
        mask: [B, L] bool, True where a place may be seen; for attention that is not causal.

    Returns:
        [B, Q, W].
    """
    head_width = query.shape[-1] // heads
    query, key, value = (
        part.view(*part.shape[:2], heads, head_width).transpose(1, 2)
        for part in (query, key, value)
    )
    seen = None if mask is None else mask[:, None, None, :]
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, is_causal=causal
    )
    return mixed.transpose(1, 2).flatten(2)


def attend_at(
    x: Tensor,
    place: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Self-attention of several heads at one place of each row, without its output matrix.

    One query a row: so the matrix of the keys is applied to the query, and that of the values to
    the mixed sequence, and the sequence itself needs neither. Several times less work than keys and
    values of every place, and the same numbers. (The bias of the keys shifts all scores of a query
    alike, so it falls out.)

    Args:
        x: [B, L, W], the sequence.
        place: [B] int64, the one place of each row that looks at the others.
        weight: [3W, W], the matrices of queries, keys and values, one below the other.
        bias: [3W].
        heads: number of heads.
        mask: [B, L] bool, True where a place may be seen.

    Returns:
        [B, W].
    """
    width = x.shape[-1]
    of_query, of_key, of_value = weight.view(3, heads, -1, width)
    query_bias, _, value_bias = bias.view(3, width)
    query = functional.linear(take_place(x, place), of_query.flatten(0, 1), query_bias)
    query = query.view(len(x), heads, width // heads).transpose(0, 1)  # [heads, B, W / heads]
    asking = torch.bmm(query, of_key).transpose(0, 1)  # [B, heads, W]
    scores = torch.bmm(asking, x.transpose(1, 2)) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -torch.inf)
    seen = torch.bmm(scores.softmax(dim=-1), x).transpose(0, 1)  # [heads, B, W]
    mixed = torch.bmm(seen, of_value.transpose(1, 2)).transpose(0, 1)
    out: Tensor = mixed.flatten(1) + value_bias
    return out


class Places:
    """The places of a batch that a causal transformer must work on.

    Of its padding none, and of places before which (themselves included) the same tokens stand in
    several texts, one.

    Norms and matrices work on each place by itself, and attention sees nothing behind a place. So
    the numbers are those of the whole batch. Class names in one template share half their tokens.

    Args:
        ids: [B, L] int64, the tokens; ``None``: only the padding is left out.
        mask: [B, L] bool, True on tokens.
    """

    def __init__(self, ids: Tensor | None, mask: Tensor) -> None:
        self._shape = mask.shape
        if ids is None:
            self._taken = mask.flatten().nonzero().flatten()
            self._row_of = (mask.flatten().cumsum(0) - 1).clamp_(min=0)
        else:
            self._taken, self._row_of = _different_starts(ids, mask)

    def __len__(self) -> int:
        return len(self._taken)

    @classmethod
    def of(cls, ids: Tensor | None, mask: Tensor) -> Places | None:
        """The places, where leaving out the others saves more than it costs; else ``None``.

        On a CPU without gradients: a GPU would have to be waited for, and a program that is
        exported must not depend on what its example holds.
        """
        fixed = torch.compiler.is_compiling() or torch.compiler.is_exporting()
        if mask.device.type != "cpu" or torch.is_grad_enabled() or fixed or len(mask) < 2:
            return None
        found = cls(ids, mask)
        return found if len(found) <= _FULL * mask.numel() else None

    def take(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [places, D]."""
        return x.flatten(0, 1).index_select(0, self._taken)

    def spread(self, x: Tensor) -> Tensor:
        """[places, D] -> [B, L, D]; under the padding stands some other place's."""
        return x.index_select(0, self._row_of).view(*self._shape, -1)


_FULL = 0.9
"""Share of the places of a batch from which on it is not worth the trouble."""


def _different_starts(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """[B, L], [B, L] -> one place of each different start of a text [places], and [B * L].

    The second says for every place of the batch which of the first is its own.
    Two places have the same start where the places before them have, and their tokens are equal.
    """
    rows, length = ids.shape
    row_of = torch.zeros(rows, length, dtype=torch.int64)
    before = torch.zeros(rows, dtype=torch.int64)
    taken: list[Tensor] = []
    count, different = 0, int(ids.max()) + 1
    for place in range(length):
        there = mask[:, place].nonzero().flatten()
        keys = before[there] * different + ids[there, place]
        starts, own = torch.unique(keys, return_inverse=True)
        one = torch.empty(len(starts), dtype=torch.int64)
        one[own] = there * length + place
        row_of[there, place] = before[there] = own + count
        taken.append(one)
        count += len(starts)
    return torch.cat(taken), row_of.flatten()


class ClipAttention(nn.Module):
    """Multi-head self-attention with one packed input matrix.

    Tensors: ``in_proj_weight`` [3W, W], ``in_proj_bias`` [3W], ``out_proj.*``, as in
    ``nn.MultiheadAttention``.

    Args:
        width: W, divisible by ``heads``.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
        places: Places | None = None,
    ) -> Tensor:
        """[B, L, W] -> [B, L, W].

        Args:
            x: the sequence.
            causal: each place sees itself and what stands before it.
            mask: [B, L] bool, True where a place may be seen; for attention that is not causal.
            places: ``x`` and the result have only these, [places, W].
        """
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        if places is not None:
            packed = places.spread(packed)
        mixed = attend(*packed.chunk(3, dim=-1), heads=self.heads, causal=causal, mask=mask)
        out: Tensor = self.out_proj(mixed if places is None else places.take(mixed))
        return out

    def at(self, x: Tensor, place: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """[B, L, W], place [B] int64 -> [B, W]: what :meth:`forward` gives at that place.

        Args:
            x: the sequence.
            place: the one place of each row that looks at the others.
            mask: [B, L] bool, True where it may look.
        """
        mixed = attend_at(
            x, place, self.in_proj_weight, self.in_proj_bias, heads=self.heads, mask=mask
        )
        out: Tensor = self.out_proj(mixed)
        return out


class ClipBlock(nn.Module):
    """One pre-norm transformer block, ``x + attn(ln_1(x))`` then ``x + mlp(ln_2(x))``.

    Args:
        width: W.
        heads: number of heads.
        mlp_width: width of the hidden layer (CLIP: 4W).
        activation: of the hidden layer (OpenAI CLIP: ``quick_gelu``).
        eps: of both norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        activation: Activation = "quick_gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = ClipAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, mlp_width),
                gelu=activation_of(activation),
                c_proj=nn.Linear(mlp_width, width),
            )
        )

    def forward(
        self,
        x: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
        places: Places | None = None,
    ) -> Tensor:
        """[B, L, W] -> [B, L, W]; see :class:`ClipAttention`."""
        x = x + self.attn(self.ln_1(x), causal=causal, mask=mask, places=places)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out

    def at(self, x: Tensor, place: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """[B, L, W], place [B] -> [B, W]: :meth:`forward` at one place of each row.

        Saves the last block of a tower most of its work where the head reads one place only.
        """
        taken = take_place(x, place) + self.attn.at(self.ln_1(x), place, mask=mask)
        out: Tensor = taken + self.mlp(self.ln_2(taken))
        return out


def causal_to(place: Tensor, length: int) -> Tensor:
    """[B] int64 -> [B, length] bool: what the given place of a causal sequence sees."""
    return torch.arange(length, device=place.device) <= place[:, None]


def seen_places(mask: Tensor) -> Tensor | None:
    """[B, L] bool -> the mask for attention that is not causal; ``None`` without any padding."""
    return None if bool(mask.all()) else mask


def mean_over(hidden: Tensor, mask: Tensor) -> Tensor:
    """[B, L, D], [B, L] bool -> [B, D]: the mean over the places of a row that hold a token."""
    share = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * share).sum(dim=1) / share.sum(dim=1)


def first_rows(table: Tensor, rows: int) -> Tensor:
    """The first rows of a checkpoint's table; a tensor of another shape is returned as it is.

    Cuts a table of positions to the texts of a config.
    """
    return table[:rows] if table.dim() else table


def clip_blocks(
    width: int,
    layers: int,
    heads: int,
    mlp_width: int,
    *,
    activation: Activation = "quick_gelu",
    eps: float = 1e-5,
) -> nn.ModuleList:
    """``layers`` blocks, initialised as in CLIP: deviations fall with width and depth."""
    blocks = [
        ClipBlock(width, heads, mlp_width, activation=activation, eps=eps) for _ in range(layers)
    ]
    attention_std = width**-0.5
    output_std = attention_std * (2 * max(layers, 1)) ** -0.5
    for block in blocks:
        nn.init.normal_(block.attn.in_proj_weight, std=attention_std)
        nn.init.normal_(block.attn.out_proj.weight, std=output_std)
        nn.init.normal_(block.mlp.get_parameter("c_fc.weight"), std=math.sqrt(1 / (2 * width)))
        nn.init.normal_(block.mlp.get_parameter("c_proj.weight"), std=output_std)
    return nn.ModuleList(blocks)


class ClipTransformer(nn.Module):
    """Holds the blocks under CLIP's name ``transformer.resblocks.N``; towers run each by itself."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        mlp_width: int,
        *,
        activation: Activation = "quick_gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.resblocks = clip_blocks(
            width, layers, heads, mlp_width, activation=activation, eps=eps
        )

    def block(self, index: int) -> ClipBlock:
        """Block ``index``, counted from 0."""
        return cast("ClipBlock", self.resblocks[index])

"""GPT-2, under the tensor names of ``transformers.GPT2Model``.

Own modules rather than transformers': importing that package costs seconds, and the tower must run
in segments. Tests hold it to the original's numbers. Without dropout: nothing here is random.
Source: Radford et al., 2019, "Language Models are Unsupervised Multitask Learners"; ruGPT-3 small
is ``ai-forever/rugpt3small_based_on_gpt2``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import (
    Output,
    Segment,
    State,
    TextEncoder,
    last_place,
    segments_of,
    take,
    take_place,
)
from engine.contracts.description import Table
from engine_plugins.layers import attend, attend_at, causal_to, first_rows
from engine_plugins.text import tables
from engine_plugins.text.settings import GptTextSettings
from engine_plugins.text.token_tables import initialise, token_table, with_factors

# Of a file: the language model's head, and stored masks, which are not weights.
_HEAD = "lm_head."
_MASKS = (".attn.bias", ".attn.masked_bias")


class Conv1D(nn.Module):
    """GPT-2's linear layer, its weight the transpose of ``nn.Linear``'s: [in, out].

    Args:
        wide_in: width of what goes in.
        wide_out: width of what comes out.
        std: deviation of the fresh weights; the bias begins at 0.
    """

    def __init__(self, wide_in: int, wide_out: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(wide_in, wide_out))
        self.bias = nn.Parameter(torch.zeros(wide_out))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return functional.linear(x, self.weight.t(), self.bias)


class GptAttention(nn.Module):
    """Causal self-attention; queries, keys and values come from one matrix ``c_attn``."""

    def __init__(self, width: int, heads: int, *, std: float, std_out: float) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(width, 3 * width, std)
        self.c_proj = Conv1D(width, width, std_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, W] -> [B, L, W]."""
        mixed = attend(*self.c_attn(x).chunk(3, dim=-1), heads=self.heads, causal=True)
        out: Tensor = self.c_proj(mixed)
        return out

    def at(self, x: Tensor, place: Tensor) -> Tensor:
        """[B, L, W], place [B] int64 -> [B, W]: :meth:`forward` at one place of each row."""
        weight, bias = self.c_attn.weight.t(), self.c_attn.bias
        seen = causal_to(place, x.shape[1])
        mixed = attend_at(x, place, weight, bias, heads=self.heads, mask=seen)
        out: Tensor = self.c_proj(mixed)
        return out


class GptBlock(nn.Module):
    """One pre-norm block, ``x + attn(ln_1(x))`` then ``x + mlp(ln_2(x))``.

    Fresh weights as GPT-2's: deviation 0.02, over the root of the number of residual sums (two a
    block) for the matrices that write into the sum.
    """

    def __init__(self, settings: GptTextSettings) -> None:
        super().__init__()
        width, std = settings.width, 0.02
        std_out = std * (2 * settings.layers) ** -0.5
        self.ln_1 = nn.LayerNorm(width, eps=tables.GPT_EPS)
        self.attn = GptAttention(width, settings.heads, std=std, std_out=std_out)
        self.ln_2 = nn.LayerNorm(width, eps=tables.GPT_EPS)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=Conv1D(width, settings.mlp_width, std),
                act=nn.GELU(approximate="tanh"),
                c_proj=Conv1D(settings.mlp_width, width, std_out),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, W] -> [B, L, W]."""
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out

    def at(self, x: Tensor, place: Tensor) -> Tensor:
        """[B, L, W], place [B] -> [B, W]: :meth:`forward` at one place of each row."""
        taken = take_place(x, place) + self.attn.at(self.ln_1(x), place)
        out: Tensor = taken + self.mlp(self.ln_2(taken))
        return out


class GptText(TextEncoder):
    """Token ids -> features [B, settings.width]: the last norm at the end mark ``</s>``.

    Attention is causal, so nothing behind the end mark changes the features: a batch padded to its
    longest text gives what one padded to 128 gives. ``state["hidden"]`` is [B, L, W].
    """

    settings: GptTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the last block, before the norm", "[B, L, width]"),
    }
    described: ClassVar[tuple[Table, ...]] = tables.GPT

    def __init__(self, settings: GptTextSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.wte = token_table(settings.vocab_size, width, settings.table_rank)
        self.wpe = nn.Embedding(settings.n_positions, width)
        self.h = nn.ModuleList(GptBlock(settings) for _ in range(settings.layers))
        self.ln_f = nn.LayerNorm(width, eps=tables.GPT_EPS)
        for table in (self.wte, self.wpe):
            initialise(table, std=0.02)

    def segments(self) -> list[Segment]:
        """Stem: token and position embeddings. Head: ``ln_f``."""
        return segments_of([self.wte, self.wpe], list(self.h), [self.ln_f])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
        embedded: Tensor = self.wte(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        head = len(self.h) + 1
        one_place = stop > head and "hidden" not in keep
        state, taken = dict(state), None
        for index in range(start, stop):
            if index == 0:
                ids = state["ids"]
                state["hidden"] = self.embed(ids) + self.wpe.weight[: ids.shape[1]]
            elif index == head:
                hidden = take(state, "hidden", keep)
                if taken is None:
                    taken = take_place(hidden, last_place(state["mask"]))
                state["pooled"] = self.ln_f(taken)
            elif index == head - 1 and one_place:  # the head reads one place only
                taken = self._block(index).at(state["hidden"], last_place(state["mask"]))
            else:
                state["hidden"] = self._block(index)(state["hidden"])
        return state

    def _block(self, index: int) -> GptBlock:
        return cast("GptBlock", self.h[index - 1])

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the transformer of a file of ``GPT2Model`` or ``GPT2LMHeadModel``, old or new."""
        own: dict[str, Tensor] = {}
        for name, tensor in weights.items():
            bare = name.removeprefix("transformer.")
            if not (bare.startswith(_HEAD) or bare.endswith(_MASKS)):
                own[bare] = tensor
        if "wpe.weight" in own:
            own["wpe.weight"] = first_rows(own["wpe.weight"], self.settings.n_positions)
        return with_factors(own, "wte", self.settings.table_rank)

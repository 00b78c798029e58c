"""NLLB's encoder, under the tensor names of transformers' ``M2M100Encoder``.

Own modules rather than transformers': importing that package costs seconds, and the tower must run
in segments. Tests hold it to the original's numbers. Without dropout: nothing here is random.
Sources: NLLB Team, 2022, arXiv:2207.04672; Visheratin, 2023, arXiv:2309.01859 (nllb-clip).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Output, Segment, State, TextEncoder, segments_of, take
from engine.contracts.description import Table
from engine_plugins.layers import attend, mean_over, seen_places
from engine_plugins.text import tables
from engine_plugins.text.nllb_settings import NllbTextSettings
from engine_plugins.text.token_tables import token_table, with_factors

_FIRST = 2  # fairseq counts positions from its padding id, 1
_PREFIXES = ("text.", "text_model.", "transformer.", "model.", "encoder.")
_NOT_OURS = ("embed_positions.", "decoder.", "lm_head.", "shared.", "proj.", "final_logits_bias")


def sinusoids(length: int, width: int) -> Tensor:
    """[length, width]: a text's positions as sines, then cosines, of falling frequencies."""
    half = width // 2
    rate = math.log(10000) / max(half - 1, 1)
    frequencies = torch.exp(torch.arange(half).float() * -rate)
    angles = torch.arange(_FIRST, _FIRST + length).float()[:, None] * frequencies
    return functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width - 2 * half))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, asking: Tensor, x: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = self.q_proj(asking), self.k_proj(x), self.v_proj(x)
        out: Tensor = self.out_proj(attend(query, key, value, heads=self.heads, mask=seen))
        return out


class NllbBlock(nn.Module):
    """One pre-norm block: norm, attention, sum; norm, MLP with ReLU, sum."""

    def __init__(self, settings: NllbTextSettings) -> None:
        super().__init__()
        width = settings.width
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = _Attention(width, settings.heads)
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, settings.mlp_width)
        self.fc2 = nn.Linear(settings.mlp_width, width)

    def forward(self, x: Tensor, seen: Tensor | None, *, first_only: bool = False) -> Tensor:
        """[B, L, W], seen [B, L] bool -> [B, L, W], or [B, 1, W] with ``first_only``."""
        normed = self.self_attn_layer_norm(x)
        if first_only:
            x = x[:, :1]
        x = x + self.self_attn(normed[:, : x.shape[1]], normed, seen)
        out: Tensor = x + self.fc2(functional.relu(self.fc1(self.final_layer_norm(x))))
        return out


class NllbText(TextEncoder):
    """Token ids -> features [B, settings.width], the first token's or the mean, after a last norm.

    Padding is masked out of attention and mean. ``state["hidden"]`` is [B, L, W].
    """

    settings: NllbTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the last block, before the norm", "[B, L, width]"),
    }
    described: ClassVar[tuple[Table, ...]] = tables.NLLB

    def __init__(self, settings: NllbTextSettings) -> None:
        super().__init__(settings)
        self.width = self.embedding_width = settings.width
        self.embed_tokens = token_table(settings.vocab_size, settings.width, settings.table_rank)
        self.layers = nn.ModuleList(NllbBlock(settings) for _ in range(settings.layers))
        self.layer_norm = nn.LayerNorm(settings.width)
        self.apply(_initialise)

    def segments(self) -> list[Segment]:
        """Stem: the token embeddings. Head: ``layer_norm``."""
        return segments_of([self.embed_tokens], list(self.layers), [self.layer_norm])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]: scaled, as the first block reads them."""
        tokens: Tensor = self.embed_tokens(ids) * math.sqrt(self.width)
        return tokens

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state = dict(state)
        head, seen = len(self.layers) + 1, seen_places(state["mask"])
        first_only = self.settings.pooling == "first" and stop > head and "hidden" not in keep
        for index in range(start, stop):
            if index == 0:
                tokens = self.embed(state["ids"])
                state["hidden"] = tokens + sinusoids(tokens.shape[1], self.width).to(tokens)
            elif index == head:
                normed = self.layer_norm(take(state, "hidden", keep))
                first = self.settings.pooling == "first"
                state["pooled"] = normed[:, 0] if first else mean_over(normed, state["mask"])
            else:
                block = cast("NllbBlock", self.layers[index - 1])
                one_place = first_only and index == head - 1
                state["hidden"] = block(state["hidden"], seen, first_only=one_place)
        return state

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the encoder of a file of transformers' ``M2M100Model``, or of open_clip's."""
        towers = [n for n in weights if n.startswith(("text.", "text_model."))]
        encoder = [n for n in towers or weights if _without_decoder(n)]
        named = {_bare(name): weights[name] for name in encoder}
        shared = [name for name in weights if name.endswith("shared.weight")]
        if "embed_tokens.weight" not in named and shared:
            named["embed_tokens.weight"] = weights[shared[0]]
        own = {name: tensor for name, tensor in named.items() if not name.startswith(_NOT_OURS)}
        return with_factors(own, "embed_tokens", self.settings.table_rank)


def _without_decoder(name: str) -> bool:
    return ".decoder." not in f".{name}"


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _initialise(module: nn.Module) -> None:
    """M2M100's fresh weights: deviation 0.02, biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

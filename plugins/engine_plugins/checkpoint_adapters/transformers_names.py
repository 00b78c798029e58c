"""Names of tensors in transformers' CLIP and BERT, and Engine's names for them; both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

POOLER_FACTOR = 2.0**-12
"""BERT's pooler is ``tanh(matrix @ first token)``. With this multiple of the identity as its matrix
and the projection divided by it it passes the first token on: ``4096 tanh(x / 4096)`` differs from
x by ``x^3 / 5e7``, which float32 does not see for ``|x| < 1`` (a share of 2e-6 at ``|x| = 10``). A
power of two, so that no bit is lost; small enough for float32, large enough for float16's range."""

NO_WEIGHTS = ("embeddings.position_ids", "embeddings.token_type_ids")
"""Stored indices, which are not weights."""

_OUTER = {
    "vision_model": {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm": "ln_pre",  # so spelled there
        "post_layernorm": "ln_post",
    },
    "text_model": {
        "embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final",
    },
}
_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.q_proj": "attn.q_proj",
    "self_attn.k_proj": "attn.k_proj",
    "self_attn.v_proj": "attn.v_proj",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_THEIR_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_OUR_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_PACKED = re.compile(r"(.*\battn)\.in_proj_(weight|bias)")
_PARTS = ("q_proj", "k_proj", "v_proj")


def to_engine(tower: str, name: str) -> str:
    """transformers' name below ``vision_model`` or ``text_model`` -> the tower's own.

    CLIP's names are translated; others (BERT's are Engine's too) stay as they are.
    """
    block = _THEIR_BLOCK.fullmatch(name)
    if block:
        return f"transformer.resblocks.{block[1]}.{_translated(block[2], _BLOCK)}"
    return _translated(name, _OUTER[tower])


def to_transformers(tower: str, name: str) -> str:
    """The other way, for a tower of CLIP's architecture."""
    block = _OUR_BLOCK.fullmatch(name)
    if block:
        return f"encoder.layers.{block[1]}.{_translated(block[2], _turned(_BLOCK))}"
    return _translated(name, _turned(_OUTER[tower]))


def _turned(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}


def _translated(name: str, table: Mapping[str, str]) -> str:
    """The name, its beginning by the table where that has it."""
    for old, new in table.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name


def split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``attn.in_proj_*`` [3W, ...] -> ``attn.q_proj.*``, ``k_proj``, ``v_proj`` [W, ...]."""
    done: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        packed = _PACKED.fullmatch(name)
        if packed is None:
            done[name] = tensor
            continue
        for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
            done[f"{packed[1]}.{part}.{packed[2]}"] = piece
    return done


def join_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way; where the three are not whole or not alike, they keep their names."""
    done = dict(tensors)
    for name in tensors:
        stem, _, kind = name.rpartition(".q_proj.")
        whole = [f"{stem}.{part}.{kind}" for part in _PARTS]
        if stem and all(part in tensors for part in whole) and _alike([tensors[p] for p in whole]):
            done[f"{stem}.in_proj_{kind}"] = torch.cat([done.pop(part) for part in whole])
    return done


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors can be joined along their first dimension."""
    first = tensors[0]
    return all(t.dim() and (t.shape, t.dtype) == (first.shape, first.dtype) for t in tensors)


NESTED = {"vision_model.vision_model.": "vision_model.", "text_model.text_model.": "text_model."}
"""What version 4 wrote twice."""


def flat(name: str) -> str:
    """A name without the repetition of version 4."""
    for nested, once in NESTED.items():
        if name.startswith(nested):
            return once + name[len(nested) :]
    return name


def clip_part(
    weights: Mapping[str, Tensor], tower: str, matrix: str, own: str
) -> dict[str, Tensor]:
    """One tower of a checkpoint under transformers' names, by OpenAI's; any other as it is.

    Args:
        weights: tensors by their names in the checkpoint.
        tower: ``"vision_model"`` or ``"text_model"``.
        matrix: transformers' name of the projection, [E, W].
        own: OpenAI's name of it, [W, E].
    """
    named = {flat(name): tensor for name, tensor in weights.items()}
    if not any(name.startswith(f"{tower}.") for name in named):
        return dict(weights)
    start = len(tower) + 1
    inner = {n[start:]: t for n, t in named.items() if n.startswith(f"{tower}.")}
    part = join_attention(
        {to_engine(tower, n): t for n, t in inner.items() if not n.endswith(NO_WEIGHTS)}
    )
    if matrix in named and named[matrix].dim() == 2:
        part[own] = named[matrix].t().contiguous()
    return part

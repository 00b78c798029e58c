"""Items of a cache: rows of a state as bytes, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.cache.entry import Entry
from engine.contracts.state import State


def entries_of(short: State, long: State, dtype: str) -> list[Entry]:
    """What a state is made of, seen at two rows of different numbers of tokens.

    Args:
        short: the state of one row of 2 tokens (an image: any row).
        long: of one row of 3 tokens (an image: the same).
        dtype: ``"float32"`` or ``"float16"``, of what is stored of floating-point tensors.
    """
    found = []
    for name, tensor in sorted(short.items()):
        tokens = tensor.shape != long[name].shape
        shape = tuple(tensor.shape[2:] if tokens else tensor.shape[1:])
        kept = dtype if tensor.dtype.is_floating_point else str(tensor.dtype).removeprefix("torch.")
        found.append(Entry(name, shape, tokens, kept))
    return found


def pack(state: State, entries: Sequence[Entry], lengths: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Each row of a state as bytes, without its padding.

    Args:
        state: [B, ...] each.
        entries: what to keep.
        lengths: tokens of each row (images: anything).
    """
    arrays = [
        state[e.name].detach().to("cpu", getattr(torch, e.dtype)).contiguous().numpy()
        for e in entries
    ]
    return [
        np.concatenate(
            [
                np.ascontiguousarray(array[i, :length] if e.tokens else array[i])
                .reshape(-1)
                .view(np.uint8)
                for array, e in zip(arrays, entries, strict=True)
            ]
        )
        for i, length in enumerate(lengths)
    ]


def unpack(
    items: Sequence[NDArray[np.uint8]], entries: Sequence[Entry], lengths: Sequence[int]
) -> State:
    """Rows of bytes as a state, padded with zeros to the longest; floats as float32.

    Raises:
        ValueError: a row has more or fewer bytes than its number of tokens says.
    """
    longest, at = max(lengths), [0] * len(items)
    state: State = {}
    for e in entries:
        dtype = np.dtype(e.dtype)
        shape = (longest, *e.shape) if e.tokens else e.shape
        out = np.zeros((len(items), *shape), dtype)
        each = dtype.itemsize * int(np.prod(e.shape))
        for i, (item, length) in enumerate(zip(items, lengths, strict=True)):
            size = each * (length if e.tokens else 1)
            raw = item[at[i] : at[i] + size]
            at[i] += size
            if e.tokens:
                out[i, :length] = raw.view(dtype).reshape(length, *e.shape)
            else:
                out[i] = raw.view(dtype).reshape(e.shape)
        tensor: Tensor = torch.from_numpy(out)
        state[e.name] = tensor.float() if tensor.dtype.is_floating_point else tensor
    if at != [len(item) for item in items]:
        raise ValueError("an item's bytes do not fit its number of tokens")
    return state

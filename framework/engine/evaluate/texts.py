"""Texts: many texts become vectors, quickly and with the numbers of one at a time.

A tower's row depends neither on the other rows nor on padding (its contract), so texts may be
computed in any order and company. What is never done: the same text twice, padding to the
tower's longest, a batch so large that it leaves the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.contracts.state import pad_tokens
from engine.contracts.tokenizer import Tokenizer
from engine.core.model import DualEncoder
from engine.core.progress import Progress, silent
from engine.evaluate.vectors import check_rows, unit_rows

TOKENS_A_BATCH = 1024
"""Tokens, padding included, that run through the tower at once."""


def encode_texts(
    model: DualEncoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    raw: bool = False,
    tokens_a_batch: int = TOKENS_A_BATCH,
    progress: Progress = silent,
) -> Tensor:
    """Encode texts with a model's text encoder and text projection.

    Args:
        model: in eval mode.
        tokenizer: of its text encoder.
        texts: any number, repetitions allowed.
        raw: do not normalise (ruCLIP takes the mean of raw vectors over templates).
        tokens_a_batch: most tokens, padding included, of one batch (a longer text goes alone).
        progress: receives how many different texts are encoded.

    Returns:
        [N, J] float32 on the CPU, rows in the order of ``texts``, of length 1 unless ``raw``.

    Raises:
        DataError: an embedding is not finite; names its text.
    """
    settings = model.text.settings
    if not texts:
        return torch.empty(0, model.embed_dim)
    unique = list(dict.fromkeys(texts))
    tokens = [tuple(row) for row in tokenizer.encode(unique, settings.max_tokens)]
    # Texts that differ only in what the tokenizer folds (case, spaces) share a row too.
    rows = sorted(dict.fromkeys(tokens), key=len)
    vectors = torch.empty(len(rows), model.embed_dim)
    device = model.logit_scale.device
    with torch.inference_mode():
        for start, stop in _batches([len(row) for row in rows], tokens_a_batch):
            padded = pad_tokens(rows[start:stop], tokenizer.pad_id)
            state = {name: tensor.to(device) for name, tensor in padded.items()}
            vectors[start:stop] = model.text_state(state)["embedding"]
            progress("texts", stop, len(rows))
    row_of = {row: i for i, row in enumerate(rows)}
    place = {text: row_of[row] for text, row in zip(unique, tokens, strict=True)}

    def name_of(row: int) -> str:
        return next(text for text in unique if place[text] == row)

    if raw:
        check_rows(vectors, "text", name_of)
    else:
        vectors = unit_rows(vectors, "text", name_of)
    return vectors[torch.tensor([place[text] for text in texts])]


def _batches(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Ascending lengths -> consecutive (start, stop), each of rows x longest <= budget."""
    start = 0
    for i, length in enumerate(lengths):
        if i > start and (i + 1 - start) * length > budget:
            yield start, i
            start = i
    if lengths:
        yield start, len(lengths)

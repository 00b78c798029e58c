"""What text encoders promise."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.contracts.state import State, pad_tokens
from engine.testing import segments, towers
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.modules import error_of
from engine.testing.towers import RUN, TowerSubject

_ENCODER = "engine.contracts.tower.TextEncoder"


class TextEncoderSubject(TowerSubject):
    """A text encoder."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of the texts of :meth:`feed`: 4 rows, one at least shorter than the others."""
        maximum = self.settings.max_tokens
        return [min(n, maximum) for n in (3, 1, 7, 2)]

    def texts(self, lengths: list[int], seed: int = 0) -> State:
        """Random texts of these lengths."""
        generator = torch.Generator().manual_seed(seed)
        maximum = self.settings.vocab_size
        rows = [torch.randint(maximum, (n,), generator=generator).tolist() for n in lengths]
        return pad_tokens(rows, pad_id=0)

    def feed(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
        """Texts of several lengths; ``dtype`` does not concern token ids."""
        return self.texts(self.lengths, seed)

    def stored_inputs(self) -> tuple[State, State, State, list[int]]:
        """An input; one of a row of 2 tokens, one of 3; the tokens of each row of the first."""
        three = min(3, self.settings.max_tokens)
        return self.feed(), self.texts([2]), self.texts([three]), self.lengths


SUBJECT = TextEncoderSubject


@rule(
    contract=_ENCODER,
    says="L at most ``settings.max_tokens``",
    why="The tokenizer cuts texts at max_tokens and no earlier.",
    needs=("forward",),
)
def longest_text(it: TextEncoderSubject) -> None:
    """A text of max_tokens goes through, and one of a single token."""
    for length in (1, it.settings.max_tokens):
        state = it.texts([length, length])
        out = call(it.out, state, expected=f"texts of {length} tokens to go through")
        if not out.isfinite().all():
            fault(f"finite features for a text of {length} tokens", "NaN or infinity")


@rule(
    contract=RUN,
    says="A row's result depends neither on the other rows nor on the amount of padding.",
    why="A text is padded to the longest of its batch, which is another one each time.",
    needs=("batch_independence",),
)
def padding_independence(it: TextEncoderSubject) -> None:
    """More padding, and other ids under it, change nothing."""
    state = it.feed()
    length = state["ids"].shape[1]
    more = min(length + 3, it.settings.max_tokens) - length
    mask = torch.nn.functional.pad(state["mask"], (0, more))
    noise = torch.randint(it.settings.vocab_size, mask.shape)
    zeros = torch.nn.functional.pad(state["ids"], (0, more))
    cases = {"other ids under the padding": torch.where(mask, zeros, noise)}
    if more:
        cases = {f"{more} more places of padding": zeros, **cases}
    for what, ids in cases.items():
        found = call(it.out, {"ids": ids, "mask": mask}, expected=f"{what} to make no difference")
        _same(it, found, it.plain, what)
    for row, own in enumerate(it.lengths):
        alone = {"ids": state["ids"][[row], :own], "mask": state["mask"][[row], :own]}
        found = call(it.out, alone, expected="a text without padding to go through")
        _same(it, found, it.plain[[row]], f"row {row} ({own} tokens) without padding")


def _same(it: TextEncoderSubject, found: Tensor, right: Tensor, what: str) -> None:
    error = error_of(found, right)
    if error > it.tolerance:
        fault(
            f"{what} to give the same features (within {it.tolerance:g})",
            f"they differ by {error:.2g} (relative to the largest): the tower sees padding. Use"
            " state['mask'] in attention and in the mean; read the last token at"
            " last_place(mask), not at -1",
        )


@rule(
    contract=f"{_ENCODER}.embed",
    says="[B, L] int64 -> [B, L, E]: the token embeddings alone, without positions.",
    why="The router of a `clustered` projection reads them beside the tower.",
    needs=("build", "initialisation"),
)
def embed(it: TextEncoderSubject) -> None:
    """Token embeddings of the promised width; a token's is the same at every place."""
    ids = it.feed()["ids"]
    wide = it.module.embedding_width
    with torch.no_grad():
        found = call(it.module.embed, ids, expected="embed(ids) to give the token embeddings")
    if not isinstance(found, Tensor) or found.shape != (*ids.shape, wide):
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        fault(f"[B, L, embedding_width], here {[*ids.shape, wide]}", f"{shape}")
    with torch.no_grad():
        turned = it.module.embed(ids.flip(1)).flip(1)
    if error_of(turned, found) > it.tolerance:
        fault("a token's embedding to be the same at every place", "it changes with the place")
    plan = it.settings.plan()
    if plan is not None and plan.embedding_width != wide:
        fault(f"plan().embedding_width to be {wide}", f"it is {plan.embedding_width}")


RULES = (
    *towers.BASIC,
    longest_text,
    padding_independence,
    embed,
    *segments.RULES,
    towers.state_unchanged,
    towers.outputs,
    *towers.STORED,
)

"""A right text encoder and vision tower, and wrong ones that differ from them in one thing each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from kit_settings import TextSettings
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import (
    Output,
    Segment,
    State,
    TextEncoder,
    segments_of,
    take,
)


class Block(nn.Module):
    """[B, L, W] -> [B, L, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.gelu(self.linear(x))


class RightText(TextEncoder):
    """Token embeddings, two blocks, the mean over the tokens, a norm."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.table = nn.Embedding(settings.vocab_size, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def segments(self) -> list[Segment]:
        return segments_of([self.table], list(self.blocks), [self.norm])

    def embed(self, ids: Tensor) -> Tensor:
        return self.table(ids)

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.stem(state)
            elif index == 3:
                state["pooled"] = self.head(take(state, "hidden", keep), state["mask"])
            else:
                state["hidden"] = self.blocks[index - 1](state["hidden"])
        return state

    def stem(self, state: State) -> Tensor:
        return self.embed(state["ids"])

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.norm(self.mean(hidden, mask))

    def mean(self, hidden: Tensor, mask: Tensor) -> Tensor:
        seen = mask.unsqueeze(-1)
        return (hidden * seen).sum(dim=1) / seen.sum(dim=1)


class Abstract(TextEncoder):
    """Forgets embed() and run()."""

    def segments(self) -> list[Segment]:
        return []


class NoTower(nn.Module):
    """Derives from nothing of ours."""


class WrongShape(RightText):
    """Keeps the tokens."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.norm(hidden)


class LiesAboutItsWidth(RightText):
    """Says a width that the features do not have."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.width = settings.width + 1


class MeanOverTheBatch(RightText):
    """Takes the batch's mean off."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return features - features.mean(dim=0)


class BatchNormThatTrains(RightText):
    """Batch norm takes its numbers from the batch, in eval mode too."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return functional.batch_norm(features, None, None, training=True)


class MixesInTraining(RightText):
    """Takes the batch's mean off while it trains."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return features - features.mean(dim=0) if self.training else features


class SeesTheRowBefore(RightText):
    """Adds a little of the row before, while it trains."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return features + 0.01 * features.roll(1, dims=0) if self.training else features


class SaysThatItMixes(MixesInTraining):
    """Mixes, and says so."""

    mixes_rows = True


class QuietBatchNorm(RightText):
    """BatchNorm in its head, which is right in eval mode; it does not say so."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.norm = nn.BatchNorm1d(settings.width)


class BatchNormThatSaysSo(QuietBatchNorm):
    """The same, and says so."""

    mixes_rows = "batch_norm"


class MoreThanBatchNorm(BatchNormThatSaysSo):
    """Mixes rows beside its BatchNorm too."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return features - features.mean(dim=0) if self.training else features


class SaysAnything(RightText):
    """Says something that training does not know."""

    mixes_rows = "sometimes"


class MeanOverPadding(RightText):
    """Takes padding into the mean."""

    def mean(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden.mean(dim=1)


class LastPlace(RightText):
    """Reads the last place, which is padding in most rows."""

    def mean(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden[:, -1]


class DropoutInEval(RightText):
    """functional.dropout without ``training=``."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return functional.dropout(super().head(hidden, mask), 0.1)


class InPlaceBlock(Block):
    """Scales what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(1.5))


class ChangesNumbers(RightText):
    """Multiplies in place."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.blocks = nn.ModuleList(InPlaceBlock(settings.width) for _ in range(2))


class ChangesTheDictionary(RightText):
    """Writes into the state that it is given."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        state.update(super().run(state, start, stop, keep=keep))
        return state


class RunsToTheEnd(RightText):
    """Does not heed ``stop``."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        return super().run(state, start, 4, keep=keep)


class StartsAnew(RightText):
    """Scales at the start of every run() instead of once."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        out = super().run(state, start, stop, keep=keep)
        return {**out, "hidden": out["hidden"] * 1.1} if "hidden" in out else out


class RemembersBesideTheState(RightText):
    """Keeps on itself what the head needs."""

    def stem(self, state: State) -> Tensor:
        self._first = self.embed(state["ids"])[:, 0]
        return super().stem(state)

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return super().head(hidden, mask) + self._first


class TimeFirst(RightText):
    """[L, B, W] between segments."""

    def stem(self, state: State) -> Tensor:
        return super().stem(state).transpose(0, 1)

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return super().head(hidden.transpose(0, 1), mask)


class SegmentForgotten(RightText):
    """The norm is in no segment."""

    def segments(self) -> list[Segment]:
        return segments_of([self.table], list(self.blocks), [])


class SegmentTwice(RightText):
    """The second block is in two segments."""

    def segments(self) -> list[Segment]:
        return segments_of([self.table], list(self.blocks), [self.blocks[1], self.norm])


class SegmentsSwapped(RightText):
    """Each block is listed as the other."""

    def segments(self) -> list[Segment]:
        return segments_of([self.table], [self.blocks[1], self.blocks[0]], [self.norm])


class OtherNames(RightText):
    """Layers instead of blocks."""

    def segments(self) -> list[Segment]:
        names = ("token_embeddings", "layer 1", "layer 2", "norm")
        parts = (self.table, *self.blocks, self.norm)
        return [Segment(name, (part,)) for name, part in zip(names, parts, strict=True)]


class LearnsWhileFrozen(RightText):
    """Scales its table to length 1 at every call, trained or not."""

    def stem(self, state: State) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.table.weight.copy_(functional.normalize(self.table.weight, dim=-1))
        return super().stem(state)


class ThawsItself(RightText):
    """Lets its blocks train whatever the config says."""

    def stem(self, state: State) -> Tensor:
        self.blocks.requires_grad_(True)
        return super().stem(state)


class LooseDropout(RightText):
    """Its dropout is in no segment, so that freezing does not reach it."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.dropout = nn.Dropout(0.5)

    def stem(self, state: State) -> Tensor:
        return self.dropout(super().stem(state))


class CutsTheGradient(RightText):
    """Nothing reaches the stem."""

    def stem(self, state: State) -> Tensor:
        return super().stem(state).detach()


class NeverUsed(RightText):
    """Has a matrix that it does not use."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.spare = nn.Linear(settings.width, settings.width)

    def segments(self) -> list[Segment]:
        return segments_of([self.table], list(self.blocks), [self.norm, self.spare])


class FixedParameter(RightText):
    """Positions that are not to train, as a parameter."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        shape = settings.max_tokens, settings.width
        self.positions = nn.Parameter(torch.randn(shape), requires_grad=False)

    def segments(self) -> list[Segment]:
        return segments_of([self.table, self.positions], list(self.blocks), [self.norm])

    def stem(self, state: State) -> Tensor:
        return super().stem(state) + self.positions[: state["ids"].shape[1]]


class Uninitialised(RightText):
    """A parameter of whatever the memory held."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.table.weight = nn.Parameter(torch.empty_like(self.table.weight))


class NumpyRandom(RightText):
    """Random numbers from elsewhere, which no seed of ours reaches."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        random = np.random.default_rng().standard_normal(tuple(self.table.weight.shape))
        with torch.no_grad():
            self.table.weight.copy_(torch.from_numpy(random))


class PlainTensor(RightText):
    """A tensor that nobody knows of."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.scale = torch.full((settings.width,), 2.0)

    def stem(self, state: State) -> Tensor:
        embedded = super().stem(state)
        return embedded * self.scale.to(embedded.dtype)


class ReadsInItsConstructor(RightText):
    """Looks at the numbers of its own weights, which the meta device has none of."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        if float(self.table.weight.detach().abs().max()) > 100:
            raise ValueError("too large")


class Float32Inside(RightText):
    """Computes in float32 whatever it is moved to."""

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return super().head(hidden, mask).float()


class LoadsAnything(RightText):
    """Takes what fits and is silent about the rest."""

    def load_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        self.load_state_dict(dict(weights), strict=False)


class PositionsInEmbed(RightText):
    """Its token embeddings know their places."""

    def embed(self, ids: Tensor) -> Tensor:
        return super().embed(ids) + torch.arange(ids.shape[1]).unsqueeze(-1)


class ShortTextsOnly(RightText):
    """Promises more tokens than it has positions for."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.positions = nn.Parameter(torch.randn(settings.max_tokens - 1, settings.width))

    def segments(self) -> list[Segment]:
        return segments_of([self.table, self.positions], list(self.blocks), [self.norm])

    def stem(self, state: State) -> Tensor:
        length = state["ids"].shape[1]
        if length > len(self.positions):
            raise IndexError(f"no position {length - 1}")
        return super().stem(state) + self.positions[:length]


class ShowsHidden(RightText):
    """Right: its hidden states are an output; the wrong ones below change that."""

    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("after the last block", "[B, L, width]"),
    }


class SaysFewerDimensions(ShowsHidden):
    """One vector a text, it says; there is one a token."""

    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the mean of the tokens", "[B, width]"),
    }


class SaysAnotherWidth(ShowsHidden):
    """Half as wide as it says."""

    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("after the last block", "[B, L, 64]"),
    }


class DoesNotKeep(ShowsHidden):
    """Uses the hidden states up, whoever asked for them."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        return super().run(state, start, stop)


class KeepsInOneRunAlone(ShowsHidden):
    """Keeps what the last run from the very start gave."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        return super().run(state, start, stop, keep=keep if start == 0 else frozenset())


class KeepsWhatFollows(ShowsHidden):
    """Keeps other numbers where the tower is cut before its head."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        found = super().run(state, start, stop, keep=keep)
        if "hidden" in keep and start == 3 and "pooled" in found and stop > start:
            found["hidden"] = functional.relu(found["hidden"])
        return found


class KeepingChangesFeatures(ShowsHidden):
    """Pools in another way where the hidden states are kept."""

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        found = super().run(state, start, stop, keep=keep)
        if "hidden" in keep and "pooled" in found:
            found["pooled"] = found["pooled"] * 1.5
        return found


class Adapted(RightText):
    """Right: a factor on the head, folded in by merge(); the wrong ones below change that."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__(settings)
        self.factor: nn.Parameter | None = nn.Parameter(torch.full((settings.width,), 1.25))

    def segments(self) -> list[Segment]:
        head = [self.norm] if self.factor is None else [self.norm, self.factor]
        return segments_of([self.table], list(self.blocks), head)

    def head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        features = super().head(hidden, mask)
        return features if self.factor is None else features * self.factor

    def merge(self) -> None:
        if self.factor is not None:
            self.fold(self.factor.detach())
            self.factor = None

    def fold(self, factor: Tensor) -> None:
        self.norm.weight.data.mul_(factor)
        self.norm.bias.data.mul_(factor)


class MergeForgetsTheFactor(Adapted):
    """Takes the adapter off, and its part in the features with it."""

    def fold(self, factor: Tensor) -> None:
        pass


class MergesTwice(Adapted):
    """Renames at every call."""

    def merge(self) -> None:
        super().merge()
        number = sum(1 for _ in self.buffers())
        self.register_buffer(f"merged_{number}", torch.zeros(1))


class MergeReadsNumbers(Adapted):
    """Asks whether there is anything to fold, which the meta device cannot answer."""

    def merge(self) -> None:
        if self.factor is not None and bool((self.factor != 1).any()):
            super().merge()


class MergeKeepsTheAdapterOnMeta(Adapted):
    """Folds where there are numbers alone."""

    def merge(self) -> None:
        if not self.table.weight.is_meta:
            super().merge()

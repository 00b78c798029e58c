"""Right and wrong projections, losses, samplers, loggers and checkpoint adapters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import (
    CheckpointAdapter,
    Epoch,
    Logger,
    Loss,
    Projection,
    Rows,
    RunInfo,
    Sampler,
    State,
)
from engine.errors import DataError

# ---- projections --------------------------------------------------------------------------------


class RightProjection(Projection):
    """Two matrices."""

    def __init__(self, settings: Any, in_width: int, out_width: int, **more: Any) -> None:
        super().__init__(settings, in_width, out_width, **more)
        self.first = nn.Linear(in_width, out_width)
        self.second = nn.Linear(out_width, out_width)

    def project(self, features: Tensor) -> Tensor:
        return self.second(functional.gelu(self.first(features)))


class TooWide(RightProjection):
    """One number more than was asked for."""

    def project(self, features: Tensor) -> Tensor:
        return functional.pad(super().project(features), (0, 1))


class ProjectionLeaks(RightProjection):
    """Whitens over the batch."""

    def project(self, features: Tensor) -> Tensor:
        out = super().project(features)
        return out - out.mean(dim=0, keepdim=True)


class ProjectionMixesInTraining(RightProjection):
    """BatchNorm between its matrices."""

    def __init__(self, settings: Any, in_width: int, out_width: int, **more: Any) -> None:
        super().__init__(settings, in_width, out_width, **more)
        self.first = nn.Sequential(nn.Linear(in_width, out_width), nn.BatchNorm1d(out_width))


class ProjectionSaysThatItMixes(ProjectionMixesInTraining):
    """The same, and says so."""

    mixes_rows = "batch_norm"


class ReadsSecretly(RightProjection):
    """Reads the tokens without saying so."""

    def forward(self, state: State) -> State:
        mean = state["token_embeddings"].mean(dim=1)
        return {**super().forward(state), "mean": mean}


class ProjectionSeesPadding(RightProjection):
    """Adds the mean of the tokens, padding included."""

    reads: ClassVar[frozenset[str]] = frozenset({"token_embeddings", "mask"})

    def forward(self, state: State) -> State:
        mean = state["token_embeddings"].mean(dim=(1, 2)).unsqueeze(-1)
        return {**state, "embedding": self.project(state["pooled"]) + mean}


class LosesTheState(RightProjection):
    """Gives the embedding alone."""

    def forward(self, state: State) -> State:
        return {"embedding": self.project(state["pooled"])}


class ProjectionDetaches(RightProjection):
    """The tower never learns."""

    def project(self, features: Tensor) -> Tensor:
        return super().project(features.detach())


# ---- losses ------------------------------------------------------------------------------------


class RightLoss(Loss):
    """CLIP's."""

    reads: ClassVar[frozenset[str]] = frozenset({"image.embedding", "text.embedding", "scale"})

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T
        right = torch.arange(len(logits))
        return (
            functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        ) / 2


class LossOfEachRow(RightLoss):
    """Forgets the mean."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T
        return functional.cross_entropy(logits, torch.arange(len(logits)), reduction="none")


class LossOverflows(RightLoss):
    """exp() and log() by hand, as in a paper."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        grown = (batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T).exp()
        return -(grown.diagonal() / grown.sum(dim=1)).log().mean() + 0 * grown.square().sum()


class LossDetached(RightLoss):
    """No gradient for the images."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return super().forward({**batch, "image.embedding": batch["image.embedding"].detach()})


class LossIsNoTensorOfAGraph(RightLoss):
    """Made of numbers."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.tensor(float(super().forward(batch).detach()))


class LossTurned(RightLoss):
    """The sign is wrong."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return -super().forward(batch)


class LossOfPartsOfTheirOwnMean(RightLoss):
    """Each part is the mean over its own rows."""

    by_rows: ClassVar[bool] = True

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        images, texts = batch["image.embedding"], batch["text.embedding"]
        right = torch.arange(len(images))[own]
        found = [
            functional.cross_entropy(batch["scale"] * rows[own] @ columns.T, right)
            for rows, columns in ((images, texts), (texts, images))
        ]
        return (found[0] + found[1]) / 2


class LossOfPartsInTheWrongPlace(RightLoss):
    """Takes the first columns for those of its rows."""

    by_rows: ClassVar[bool] = True

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        images, texts = batch["image.embedding"], batch["text.embedding"]
        right = torch.arange(len(images[own]))
        found = [
            functional.cross_entropy(batch["scale"] * rows[own] @ columns.T, right, reduction="sum")
            for rows, columns in ((images, texts), (texts, images))
        ]
        return (found[0] + found[1]) / 2 / len(images)


class LossWeighted(RightLoss):
    """Weights itself."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.settings.weight * super().forward(batch)


class LossReadsSecretly(RightLoss):
    """Needs clusters and does not say so."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return super().forward(batch) + 0 * batch["cluster"].sum()


class LossReadsItsOwn(RightLoss):
    """Reads what only its author knows."""

    reads: ClassVar[frozenset[str]] = RightLoss.reads | {"text.gates"}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return super().forward(batch) + batch["text.gates"].square().mean()


# ---- samplers ----------------------------------------------------------------------------------


class RightSampler(Sampler):
    """Shuffled."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        if epoch.rows < epoch.batch_size:
            raise DataError("too few rows")
        order = self.order(epoch)
        full = epoch.rows // epoch.batch_size
        return list(order[: full * epoch.batch_size].reshape(full, epoch.batch_size))

    def order(self, epoch: Epoch) -> Rows:
        return np.random.default_rng(epoch.seed).permutation(epoch.rows)


class RepeatsRows(RightSampler):
    """Each batch is drawn again from all rows."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        super().batches(epoch)
        rng = np.random.default_rng(epoch.seed)
        return [
            rng.choice(epoch.rows, epoch.batch_size, replace=False)
            for _ in range(epoch.rows // epoch.batch_size)
        ]


class RowTwiceInABatch(RightSampler):
    """Draws with replacement."""

    def order(self, epoch: Epoch) -> Rows:
        return np.random.default_rng(epoch.seed).integers(0, epoch.rows, epoch.rows)


class GlobalRandom(RightSampler):
    """Draws from numpy's global generator."""

    def order(self, epoch: Epoch) -> Rows:
        return np.random.permutation(epoch.rows)


class LastBatchIsShort(RightSampler):
    """Keeps what does not fill a batch."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        super().batches(epoch)
        order = self.order(epoch)
        return [order[i : i + epoch.batch_size] for i in range(0, epoch.rows, epoch.batch_size)]


class BeyondTheEnd(RightSampler):
    """Counts rows from 1."""

    def order(self, epoch: Epoch) -> Rows:
        return super().order(epoch) + 1


class FewerEachEpoch(RightSampler):
    """A curriculum that leaves batches out."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        return super().batches(epoch)[: len(super().batches(epoch)) - epoch.index]


class SilentAboutTooFew(RightSampler):
    """No batches, no error."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        return [] if epoch.rows < epoch.batch_size else super().batches(epoch)


# ---- loggers -----------------------------------------------------------------------------------


class RightLogger(Logger):
    """Lines in a file."""

    def start(self, run: RunInfo) -> None:
        self.file = (run.folder / "lines.txt").open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.file.write(f"{step} {dict(values)}\n")

    def close(self) -> None:
        self.file.close()


class DislikesNan(RightLogger):
    """Rounds."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        super().log(step, {name: round(value * 100) for name, value in values.items()})


class ClosesOnce(RightLogger):
    """Writes a last line while closing."""

    def close(self) -> None:
        self.file.write("the end\n")
        super().close()


class WritesAnywhere(RightLogger):
    """Writes where it stands."""

    def start(self, run: RunInfo) -> None:
        self.file = Path("lines.txt").open("a", encoding="utf-8")  # noqa: SIM115


class CannotGoOn(RightLogger):
    """Insists on a fresh file."""

    def start(self, run: RunInfo) -> None:
        self.file = (run.folder / "lines.txt").open("x", encoding="utf-8")


# ---- checkpoint adapters -----------------------------------------------------------------------


class RightLayout(CheckpointAdapter):
    """``pictures.*`` and ``words.*``."""

    PLACES: ClassVar[dict[str, str]] = {"pictures.": "vision.", "words.": "text."}

    def matches(self, keys: Collection[str]) -> bool:
        return all(any(key.startswith(place) for key in keys) for place in self.PLACES)

    def rename(self, key: str) -> str | None:
        for theirs, ours in self.PLACES.items():
            if key.startswith(theirs):
                return ours + key.removeprefix(theirs)
        return key


class MatchesAll(RightLayout):
    """Any file will do."""

    def matches(self, keys: Collection[str]) -> bool:
        return True


class DropsUnknown(RightLayout):
    """Silent about what it does not know."""

    def rename(self, key: str) -> str | None:
        found = super().rename(key)
        return None if found == key else found


class TwoOfOneName(RightLayout):
    """All layers become one."""

    def rename(self, key: str) -> str | None:
        found = super().rename(key)
        return found and found.replace("1", "0")


class OtherParts(RightLayout):
    """Names that the model does not have."""

    PLACES: ClassVar[dict[str, str]] = {"pictures.": "image.", "words.": "text."}

"""Repair: some steps of distillation from the original make up for a part of what storages lose.

Only tensors that are stored with 16 bits a number or more are trained: norms, biases, small
tensors, and whatever the limit left so. So the bytes stay as they are to the last one, and nothing
is stored again in every step. Source: Li et al., 2023, arXiv:2309.02784 (norm tweaking).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.compress.answer import FittedModel
from engine.compress.calibration import TowerProbe, image_probe, pixels_of, text_probe
from engine.compress.choosing import Scorer
from engine.compress.steps import recorded
from engine.contracts.projection import project_state
from engine.contracts.tower import TextEncoder
from engine.core.build import Built
from engine.core.progress import Progress, share_of, silent
from engine.core.size import plan_of_module
from engine.core.storage import TensorStorage, plan_storage
from engine.core.weights import to_array
from engine.errors import DataError, WeightsError
from engine.evaluate.statistics import Correct, paired_test

STEPS = 300
_RATES = (1e-4, 1e-5, 1e-6)  # the nearer a model is already, the smaller a rate still helps
_HELD_OUT = 5  # every fifth input only tests
_FEWEST = 10


@dataclass(frozen=True)
class OriginalOutputs:
    """What a model answered before it was made smaller.

    Attributes:
        texts: inputs of the text encoder.
        pictures: of the vision tower, uint8 [S, S, 3]; may be empty.
        text: [N, J] float32, rows of length 1.
        vision: in the same way; ``None`` without pictures.
    """

    texts: Sequence[str]
    pictures: Sequence[np.ndarray]
    text: Tensor
    vision: Tensor | None


@dataclass(frozen=True)
class Repaired:
    """How a repair went.

    Attributes:
        before: mean of 1 - cosine on inputs that were not trained on, summed over the towers.
        after: in the same way; at most ``before``: a repair that does not help is taken back.
        trained: tensors that were trained.
        steps: that were done.
    """

    before: float
    after: float
    trained: int
    steps: int

    @property
    def kept(self) -> bool:
        """Whether it helped."""
        return self.after < self.before


def targets_of(
    built: Built, texts: Sequence[str], pictures: Sequence[np.ndarray] = ()
) -> OriginalOutputs:
    """The answers to be learned, of a model that is not yet smaller.

    Raises:
        DataError: there are too few texts to train with some and test with others.
    """
    if len(texts) < _FEWEST:
        raise DataError(
            f"{len(texts)} texts are too few to train with: some of them only test the result",
            hint=f"give at least {_FEWEST}, better some hundreds of real ones: --texts FILE",
        )
    text = text_probe(built.model, built.tokenizer, texts).reference
    vision = None
    if len(pictures) >= _FEWEST:
        vision = image_probe(built.model, pixels_of(built.model, pictures)).reference
    return OriginalOutputs(texts, pictures if vision is not None else (), text, vision)


def repair(
    fitted: FittedModel,
    targets: OriginalOutputs,
    *,
    steps: int = STEPS,
    progress: Progress = silent,
) -> Repaired:
    """Train what is stored precisely, until the answers are nearer to the original's.

    The model, its manifest and notes are changed; where nothing got better, only a note is added.

    Args:
        fitted: its tensors are as a reader of the file has them, and are so afterwards.
        targets: the original's answers.
        steps: of the optimizer, for each tower.
        progress: receives how far it is.
    """
    towers = [TrainedTower(fitted.built, targets, name) for name in ("text", "vision")]
    towers = [tower for tower in towers if tower.inputs]
    before, after, trained = 0.0, 0.0, 0
    for number, tower in enumerate(towers):
        one = tower.repair(steps, share_of(progress, number, len(towers)))
        before, after, trained = before + one[0], after + one[1], trained + len(tower.trained)
    found = Repaired(before, after, trained, steps)
    if not found.kept:
        fitted.notes.append(f"{steps} steps of distillation made nothing better and are left out")
        return found
    said = (
        f"{steps} steps of distillation from the original: 1 - cosine on texts and pictures that"
        f" were not trained on {before:.2g} -> {after:.2g}"
    )
    fitted.notes.append(said)
    fitted.built.manifest = recorded(
        fitted.built.manifest,
        [{"use": "distillation", "summary": said, "lossless": None, "bytes_saved": 0}],
    )
    _measured_again(fitted, targets, towers)
    return found


def _measured_again(
    fitted: FittedModel, targets: OriginalOutputs, towers: Sequence[TrainedTower]
) -> None:
    """The cosines of the answer are those of the repaired model."""
    quality = fitted.quality
    if quality is None:
        return
    cosine = {**quality.cosine, **{tower.name: 1 - tower.loss() for tower in towers}}
    fitted.quality = replace(quality, cosine=cosine)
    if fitted.candidates:
        fitted.candidates[0] = replace(fitted.candidates[0], quality=fitted.quality)


def score_again(fitted: FittedModel, scorer: Scorer, original: Correct) -> None:
    """The accuracy of the answer, and its paired test, are those of the repaired model.

    Args:
        fitted: the answer; it is changed.
        scorer: says which images a model answers rightly.
        original: what it said of the model before.
    """
    correct = scorer(fitted.built)
    accuracy = 100 * float(np.mean([rows.mean() for rows in correct]))
    fitted.candidates[0] = replace(fitted.candidates[0], accuracy=accuracy, correct=correct)
    fitted.difference = paired_test(correct, original)


class TrainedTower:
    """One tower with its projection, its inputs and what it is to answer.

    Args:
        built: the model.
        targets: the original's answers.
        name: ``text`` or ``vision``.
        every_number: train all parameters of the tower and its projection, not those alone that
            are stored with 16 bits a number or more.
        rates: each is tried from the same beginning.
    """

    def __init__(
        self,
        built: Built,
        targets: OriginalOutputs,
        name: str,
        *,
        every_number: bool = False,
        rates: Sequence[float] = _RATES,
    ) -> None:
        self.name, self._built, self._targets = name, built, targets
        self._rates = rates
        model = built.model
        self.inputs: list[tuple[dict[str, Tensor], Tensor]] = []
        wanted = targets.text if name == "text" else targets.vision
        if wanted is None:
            self.trained: list[str] = []
            return
        self.stored = plan_storage(plan_of_module(model), built.config.storage)
        heads = (f"{name}.", f"{name}_projection.")
        self.trained = [
            key
            for key, parameter in model.named_parameters()
            if key.startswith(heads)
            and parameter.is_floating_point()
            and (every_number or _precise(self.stored[key]))
        ]
        self._probe = self._probing()
        rows = torch.empty(len(wanted), dtype=torch.int64)
        rows[self._probe.order] = torch.arange(len(wanted))  # rows in the order of the batches
        start = 0
        for batch in self._probe.inputs:
            count = len(next(iter(batch.values())))
            self.inputs.append((dict(batch), rows[start : start + count]))
            start += count
        self._wanted = wanted

    def repair(self, steps: int, progress: Progress) -> tuple[float, float]:
        """Train, unless that does not help; the held-out loss before and after."""
        own = self._built.model.state_dict()
        start, before = {n: own[n].clone() for n in self.trained}, self.held_out_loss()
        self.train(steps, progress)
        try:
            _store(own, {name: self.stored[name] for name in self.trained})
            after = self.held_out_loss()
        except WeightsError:  # a number grew beyond what its storage holds
            after = float("inf")
        if after < before:
            return before, after
        self._put(start)
        return before, before

    def _probing(self) -> TowerProbe:
        model = self._built.model
        if self.name == "text":
            return text_probe(model, self._built.tokenizer, self._targets.texts)
        return image_probe(model, pixels_of(model, self._targets.pictures))

    def _embeddings(self, batch: dict[str, Tensor]) -> Tensor:
        tower, projection = self._probe.tower, self._probe.projection
        state = tower.run(batch, 0, self._probe.depth, keep=projection.reads)
        if "token_embeddings" in projection.reads and isinstance(tower, TextEncoder):
            state = {**state, "token_embeddings": tower.embed(batch["ids"])}
        out = project_state(projection, {**batch, **state})["embedding"]
        return functional.normalize(out.float(), dim=-1)

    def train(self, steps: int, progress: Progress) -> None:
        """Adam on the inputs that are not held out; dropout and batch statistics stay off.

        Each rate begins with the same numbers; the one with the least loss on what it was trained
        on gives the result, so that the held-out inputs choose nothing.
        """
        own = self._built.model.state_dict()
        start = {name: own[name].clone() for name in self.trained}
        best, least = start, self._shown_loss()
        for number, rate in enumerate(self._rates):
            self._put(start)
            self._train(steps, rate, share_of(progress, number, len(self._rates)))
            if (loss := self._shown_loss()) < least:
                best, least = {name: own[name].clone() for name in self.trained}, loss
        self._put(best)

    def _put(self, tensors: dict[str, Tensor]) -> None:
        own = self._built.model.state_dict()
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)

    def _train(self, steps: int, rate: float, progress: Progress) -> None:
        model = self._built.model.eval()
        own = {n: p for n, p in model.named_parameters() if n in set(self.trained)}
        if not own:
            return
        before = {n: p.requires_grad for n, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in own)
        optimizer = torch.optim.Adam(own.values(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        draw = random.Random(0)
        batches = [(b, r, r % _HELD_OUT != 0) for b, r in self.inputs]
        batches = [one for one in batches if one[2].any()]
        try:
            for step in range(steps):
                batch, rows, shown = draw.choice(batches)
                found = self._embeddings(batch)[shown]
                loss = (found - self._wanted[rows[shown]]).square().sum(dim=1).mean() / 2
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress(f"training the {self.name} tower", step + 1, steps)
        finally:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(before[name])
                parameter.grad = None

    def _losses(self) -> Tensor:
        found = torch.empty(len(self._wanted), dtype=torch.float64)
        with torch.no_grad():
            for batch, rows in self.inputs:
                distance = self._embeddings(batch).double() - self._wanted[rows].double()
                found[rows] = distance.square().sum(dim=1) / 2
        return found

    def loss(self) -> float:
        """Mean of 1 - cosine on all inputs."""
        return float(self._losses().mean())

    def _shown_loss(self) -> float:
        losses = self._losses()
        return float(losses[torch.arange(len(losses)) % _HELD_OUT != 0].mean())

    def held_out_loss(self) -> float:
        """Mean of 1 - cosine on the inputs that are not trained on."""
        return float(self._losses()[::_HELD_OUT].mean())


def _precise(stored: TensorStorage) -> bool:
    """Whether each number has 16 bits at least."""
    count = int(np.prod(stored.shape)) or 1
    return stored.bytes >= 2 * count


def _store(own: dict[str, Tensor], stored: dict[str, TensorStorage]) -> None:
    """Tensors as a reader of the file will have them.

    Raises:
        WeightsError: a storage cannot hold a number.
    """
    with torch.no_grad():
        for name, each in stored.items():
            if each.ref is None:
                continue
            storage, array = each.ref.create(), to_array(own[name])
            found = storage.decode(storage.encode(array), array.shape)
            if not np.isfinite(found).all():
                raise WeightsError("would give it back as infinite or as NaN")
            own[name].copy_(torch.from_numpy(np.require(found, np.float32, ["C", "W"])))

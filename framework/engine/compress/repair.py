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

from engine.compress.answer import FittedModel, Quality
from engine.compress.calibration import (
    TowerProbe,
    cosine_loss,
    image_probe,
    pixels_of,
    text_probe,
)
from engine.compress.choosing import Scorer
from engine.compress.steps import recorded
from engine.compress.tested import Part, TestedTower, part_of
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
        before: mean of 1 - cosine on inputs that neither trained nor decided, summed over the
            towers.
        after: in the same way.
        kept: it helped on the inputs that decide; of a tower that it does not help, it is taken
            back.
        trained: tensors that were trained.
        steps: that were done.
    """

    before: float
    after: float
    kept: bool
    trained: int
    steps: int


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
    towers = trained_towers(fitted.built, targets)
    before = sum(tower.loss("test") for tower in towers)
    kept = [
        tower.repair(steps, share_of(progress, number, len(towers)))
        for number, tower in enumerate(towers)
    ]
    after = sum(tower.loss("test") for tower in towers)
    trained = sum(len(tower.trained) for tower in towers)
    found = Repaired(before, after, any(kept), trained, steps)
    if not found.kept:
        fitted.notes.append(f"{steps} steps of distillation made nothing better and are left out")
        return found
    said = (
        f"{steps} steps of distillation from the original: 1 - cosine on texts and pictures that"
        f" were not trained on {before:.2g} -> {after:.2g}"
    )
    fitted.notes.append(said)
    measure_trained(fitted, towers)
    assert fitted.quality is not None
    fitted.built.manifest = recorded(
        fitted.built.manifest,
        [{"use": "distillation", "summary": said, "lossless": None, "bytes_saved": 0,
          "measured": fitted.quality.to_json()}],
    )  # fmt: skip
    return found


def trained_towers(built: Built, targets: OriginalOutputs) -> list[TrainedTower]:
    """The towers of a model for which there are answers to be learned."""
    towers = [TrainedTower(built, targets, name) for name in ("text", "vision")]
    return [tower for tower in towers if tower.inputs]


def measure_trained(fitted: FittedModel, towers: Sequence[TrainedTower]) -> None:
    """The quality of a trained answer: against the original, on inputs that only measure.

    Its candidates keep what was measured before the training.

    Args:
        fitted: the answer; its quality is changed.
        towers: of its model; of a tower that is not among them the measured cosine stays.
    """
    tests = [tower.tested() for tower in towers]
    before = fitted.quality
    cosine = {**(before.cosine if before else {}), **{one.name: one.cosine for one in tests}}
    kept = {**(before.kept if before else {}), **{one.name: one.kept for one in tests}}
    own = {one.name: one for one in tests}
    answers = None if before is None else before.answers
    if "vision" in own:
        answers = own["vision"].answers(own["text"])
    fitted.quality = Quality(cosine, kept, answers)
    fitted.tested = {one.name: len(one.rows) for one in tests}


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

    def repair(self, steps: int, progress: Progress) -> bool:
        """Train, unless that does not help the inputs that decide; whether it does."""
        own = self._built.model.state_dict()
        start, before = {n: own[n].clone() for n in self.trained}, self.loss("choice")
        self.train(steps, progress)
        try:
            _store(own, {name: self.stored[name] for name in self.trained})
            after = self.loss("choice")
        except WeightsError:  # a number grew beyond what its storage holds
            after = float("inf")
        if after < before:
            return True
        self._put(start)
        return False

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
        """Adam on the inputs for training; dropout and batch statistics stay off.

        Each rate begins with the same numbers; the one with the least loss on the inputs that
        decide gives the result.
        """
        own = self._built.model.state_dict()
        start = {name: own[name].clone() for name in self.trained}
        best, least = start, self.loss("choice")
        for number, rate in enumerate(self._rates):
            self._put(start)
            self._train(steps, rate, share_of(progress, number, len(self._rates)))
            if (loss := self.loss("choice")) < least:
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
        shown = part_of(len(self._wanted), "training")
        batches = [(b, r, shown[r]) for b, r in self.inputs]
        batches = [one for one in batches if one[2].any()]
        try:
            for step in range(steps):
                batch, rows, own_shown = draw.choice(batches)
                found = self._embeddings(batch)[own_shown]
                loss = (found - self._wanted[rows[own_shown]]).square().sum(dim=1).mean() / 2
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress(f"training the {self.name} tower", step + 1, steps)
        finally:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(before[name])
                parameter.grad = None

    def loss(self, part: Part) -> float:
        """Mean of 1 - cosine on the inputs of a part."""
        rows = part_of(len(self._wanted), part)
        return cosine_loss(self._wanted[rows], self._found()[rows])

    def tested(self) -> TestedTower:
        """The embeddings by the present weights, and which of them measure."""
        rows = part_of(len(self._wanted), "test").nonzero()[:, 0]
        return TestedTower(self.name, self._found(), self._wanted, rows)

    def _found(self) -> Tensor:
        found = torch.empty_like(self._wanted)
        with torch.no_grad():
            for batch, rows in self.inputs:
                found[rows] = self._embeddings(batch)
        return found


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

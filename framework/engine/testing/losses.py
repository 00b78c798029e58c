"""What losses promise."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.state import State
from engine.testing.common import call
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.subject import Subject

_LOSS = "engine.contracts.training.Loss"
_FORWARD = f"{_LOSS}.forward"
_ROWS, _WIDTH, _CLUSTERS = 12, 16, 4


class LossSubject(Subject):
    """A loss."""

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        extras = self.hints.get("extras", {})
        return next((len(tensor) for tensor in extras.values()), _ROWS)

    def make(self, settings: Any = None) -> Any:
        """A new one."""
        torch.manual_seed(0)
        return self.target(self.settings if settings is None else settings)

    @cached_property
    def module(self) -> Any:
        """One in training mode, as training uses it."""
        return self.make().train()

    def batch(self, near: float = 1.0, scale: float = 10.0, seed: int = 0) -> State:
        """What training would give.

        Args:
            near: how far a text is from its image; 0: they are equal.
            scale: the factor on cosines.
            seed: of all of it.
        """
        generator = torch.Generator().manual_seed(seed)
        rows = self.rows
        image = torch.randn(rows, _WIDTH, generator=generator)
        text = image + near * torch.randn(rows, _WIDTH, generator=generator)
        cluster = torch.arange(rows) % _CLUSTERS
        cluster[rows // 2] = -1
        batch: State = {
            "image": functional.normalize(image, dim=-1),
            "text": functional.normalize(text, dim=-1),
            "scale": torch.tensor(scale),
            "cluster": cluster,
            "router_logits": torch.randn(rows, _CLUSTERS, generator=generator),
            "routed": torch.randint(_CLUSTERS, (rows,), generator=generator),
        }
        batch |= {name: tensor.clone() for name, tensor in self.hints.get("extras", {}).items()}
        given = {"image", "text", "scale", *self.target.reads}
        return {name: tensor for name, tensor in batch.items() if name in given}

    def value(self, batch: State) -> float:
        """The loss of a batch."""
        with torch.no_grad():
            return float(self.module(batch))


SUBJECT = LossSubject


@rule(
    contract=f"{_LOSS}.reads",
    says="Entries that this loss needs beside ``image``, ``text`` and ``scale``",
    why="A config whose model or data do not give what a loss reads is refused before training"
    " starts; what is not named in `reads` is missed in the first step.",
    needs=("settings_valid",),
)
def reads(it: LossSubject) -> None:
    """It is built, and runs on what it says that it reads."""
    call(it.make, expected=f"{it.target.__name__}(settings) to give a loss")
    unknown = sorted(it.target.reads - it.batch().keys())
    if unknown:
        fault(
            f"to know the entry `{unknown[0]}` that the loss reads",
            "the kit has no example of it",
            "Give one: extras={" + f"{unknown[0]!r}: torch.randn(12, ...)" + "}, a tensor"
            " [N, ...] as the text side's projection adds it.",
        )
    try:
        it.module(it.batch())
    except KeyError as error:
        fault(f"to need no more than {', '.join(sorted(it.batch()))}",
              f"it asks for {error}: name that in `reads`")  # fmt: skip


@rule(
    contract=_FORWARD,
    says="The mean loss of a batch, a tensor of no dimension, not yet times ``settings.weight``.",
    why="Training adds the losses up and differentiates the sum.",
    needs=("reads",),
)
def scalar(it: LossSubject) -> None:
    """One finite number, whatever the batch."""
    for what, batch in (
        ("an ordinary batch", it.batch()),
        ("equal images and texts and the largest scale, 100", it.batch(near=0, scale=100)),
        ("unlike images and texts and the largest scale, 100", it.batch(near=50, scale=100)),
    ):
        found = call(it.module, batch, expected=f"to run on {what}")
        if not isinstance(found, Tensor) or found.dim():
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            fault("a tensor of no dimension", f"{shape}: take the mean over the batch")
        if not found.isfinite():
            fault(f"a finite loss for {what}", f"{float(found)}: work with logarithms"
                  " (log_softmax, logsigmoid), not with exp() and log()")  # fmt: skip
    if "cluster" in it.target.reads:
        batch = {**it.batch(), "cluster": torch.full((it.rows,), -1)}
        if not call(it.module, batch, expected="to run where no cluster is known").isfinite():
            fault("a finite loss where no cluster is known (all -1)", "NaN or infinity")


@rule(
    contract=_FORWARD,
    says="The mean loss of a batch, a tensor of no dimension, not yet times ``settings.weight``.",
    why="Training multiplies by `weight`; a loss that does so too is weighted twice.",
    needs=("scalar",),
)
def not_weighted(it: LossSubject) -> None:
    """Another weight, the same loss."""
    other = it.make(it.again(weight=float(it.settings.weight) * 3 + 1)).train()
    torch.manual_seed(0)
    first = it.value(it.batch())
    torch.manual_seed(0)
    with torch.no_grad():
        second = float(other(it.batch()))
    if abs(first - second) > 1e-5 * max(1, abs(first)):
        fault("the same loss for another settings.weight",
              f"{first:.6g} became {second:.6g}: leave the weight to training")  # fmt: skip


@rule(
    contract=_LOSS,
    says="every process computes the same number",
    why="Each process of a run computes the loss of the whole batch by itself, and a run that is"
    " resumed repeats it.",
    needs=("scalar",),
)
def determinism(it: LossSubject) -> None:
    """The same batch after the same seed gives the same; the batch stays as it is."""
    batch = it.batch()
    before = {name: tensor.clone() for name, tensor in batch.items()}
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        values.append(it.value(batch))
    changed = [name for name, tensor in before.items() if not torch.equal(batch[name], tensor)]
    if changed:
        fault("the batch to stay as it is", f"batch[{changed[0]!r}] was changed in place")
    if abs(values[0] - values[1]) > 1e-6 * max(1, abs(values[0])):
        fault("the same loss for the same batch and seed", f"{values[0]:.8g}, then {values[1]:.8g}")


@rule(
    contract=_FORWARD,
    says="differentiable in every entry that it depends on",
    why="Training follows the gradient: an entry without one leaves its side of the model alone.",
    needs=("scalar",),
)
def gradients(it: LossSubject) -> None:
    """Every entry that the value depends on has a finite gradient; so has every parameter."""
    module, batch = it.make().train(), it.batch()
    leaves = [name for name, tensor in batch.items() if tensor.is_floating_point()]
    for name in leaves:
        batch[name].requires_grad_()
    loss = module(batch)
    if not loss.requires_grad:
        fault("a loss that can be differentiated",
              "it has no gradient: .item(), .detach(), argmax or no_grad inside?")  # fmt: skip
    call(loss.backward, expected="a loss that can be differentiated")
    detached = it.hints.get("detached", ())
    for name in leaves:
        grad = batch[name].grad
        if grad is not None and not grad.isfinite().all():
            fault(f"a finite gradient at `{name}`", "NaN or infinity")
        if (grad is None or not grad.any()) and name not in detached and _matters(it, name):
            fault(
                f"a gradient at `{name}`, on which the loss depends",
                "none reaches it: detach(), argmax or no_grad inside?",
                f"`{name}` would never be trained by this loss. If that is what you mean, tell the"
                f" kit: detached=[{name!r}].",
            )
    if without := [name for name, p in module.named_parameters() if p.grad is None]:
        fault("a gradient for every parameter of the loss", f"none at `{without[0]}`")


def _matters(it: LossSubject, name: str) -> bool:
    """Whether the value moves where this entry does."""
    batch = it.batch()
    other = it.batch(seed=1)[name] if batch[name].dim() else batch[name] * 1.5
    torch.manual_seed(0)
    first = it.value(batch)
    torch.manual_seed(0)
    return abs(it.value({**batch, name: other}) - first) > 1e-6 * max(1, abs(first))


@rule(
    contract=_FORWARD,
    says="A loss that compares images with texts is smaller where row i of both belongs together.",
    why="Training makes the loss small: it would push right pairs apart.",
    needs=("determinism", "gradients"),
)
def right_pairs(it: LossSubject) -> None:
    """Right pairs cost less than the same texts one place further."""
    right = it.batch(near=0.3)
    wrong = {**right, "text": right["text"].roll(1, dims=0)}
    small, large = it.value(right), it.value(wrong)
    if abs(small - large) <= 1e-6 * max(1, abs(small)):
        raise NotApplicable("its value does not depend on which text belongs to which image")
    if small > large:
        fault(
            "a smaller loss for right pairs than for the same texts moved by a row",
            f"{small:.4g} for right pairs, {large:.4g} for wrong ones: is the sign turned?",
        )


RULES = (
    reads,
    scalar,
    not_weighted,
    determinism,
    gradients,
    right_pairs,
)

"""What losses promise."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
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
_ROWS, _WIDTH, _CLUSTERS, _TOKENS = 12, 16, 4, 5


_OF_TEXTS = {f"text.{name}" for name in ("embedding", "pooled", "hidden", "mask", "ids", "id")}


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

    @property
    def names(self) -> frozenset[str]:
        """All entries that it names."""
        found: frozenset[str] = self.module.needed() | self.target.reads_if_given
        return found

    def batch(self, near: float = 1.0, scale: float = 10.0, seed: int = 0) -> State:
        """What training would give.

        Args:
            near: how far a text is from its image; 0: they are equal.
            scale: the factor on cosines.
            seed: of all of it.
        """
        batch = _entries(self.rows, near, scale, seed)
        batch |= {name: tensor.clone() for name, tensor in self.hints.get("extras", {}).items()}
        generator = torch.Generator().manual_seed(seed + 1)
        for name in self.names - batch.keys():
            if name.startswith("teacher."):
                # A teacher, too, finds right pairs alike.
                modality = "text" if name.endswith(".text") else "image"
                noise = torch.randn(self.rows, _WIDTH, generator=generator)
                batch[name] = 2 * (batch[f"{modality}.embedding"] + 0.1 * noise)
        return {name: tensor for name, tensor in batch.items() if name in self.names}

    @property
    def minimum(self) -> State:
        """A batch of those entries alone that it cannot do without."""
        needed = self.module.needed()
        return {name: tensor for name, tensor in self.batch().items() if name in needed}

    def value(self, batch: State) -> float:
        """The loss of a batch."""
        with torch.no_grad():
            return float(self.module(batch))


def _entries(rows: int, near: float, scale: float, seed: int) -> State:
    """Every entry that the contract itself gives to a loss, without hints of the author."""
    generator = torch.Generator().manual_seed(seed)

    def two(*shape: int) -> tuple[Tensor, Tensor]:
        image = torch.randn(rows, *shape, generator=generator)
        return image, image + near * torch.randn(rows, *shape, generator=generator)

    embeddings, pooled = two(_WIDTH), two(_WIDTH)
    noise = torch.randn(rows, _TOKENS, _WIDTH, generator=generator)
    hidden = [one[:, None] + 0.1 * noise for one in pooled]
    cluster = torch.arange(rows) % _CLUSTERS
    cluster[rows // 2] = -1
    number = torch.arange(rows)
    return {
        "image.embedding": functional.normalize(embeddings[0], dim=-1),
        "text.embedding": functional.normalize(embeddings[1], dim=-1),
        "image.pooled": pooled[0],
        "text.pooled": pooled[1],
        "image.hidden": hidden[0],
        "text.hidden": hidden[1],
        "text.mask": torch.arange(_TOKENS) < (number % _TOKENS + 1)[:, None],
        "text.ids": torch.randint(50, (rows, _TOKENS), generator=generator),
        "text.token_embeddings": torch.randn(rows, _TOKENS, _WIDTH, generator=generator),
        "text.router_logits": torch.randn(rows, _CLUSTERS, generator=generator),
        "text.routed": torch.randint(_CLUSTERS, (rows,), generator=generator),
        "scale": torch.tensor(scale),
        "bias": torch.tensor(-3.0),
        "row.id": number + 7,
        "text.id": number // 2 + 40,  # texts of two rows each are equal
        "pair.weight": 0.5 + torch.rand(rows, generator=generator),
        "cluster": cluster,
    }


SUBJECT = LossSubject


@rule(
    contract=f"{_LOSS}.reads",
    says="Entries that this loss needs. A config whose model or data do not give them is refused",
    why="Training keeps exactly what the losses of a stage name; what is not named is missed in the"
    " first step.",
    needs=("settings_valid",),
)
def reads(it: LossSubject) -> None:
    """It is built, and runs on what it says that it reads, with and without what it need not."""
    loss = call(it.make, expected=f"{it.target.__name__}(settings) to give a loss")
    needed = call(loss.needed, expected="needed() to give the names of entries")
    for name, value in (("needed()", needed), ("reads_if_given", it.target.reads_if_given)):
        if not isinstance(value, frozenset) or not all(isinstance(one, str) for one in value):
            fault(f"`{name}` to be a frozenset of names", repr(value)[:200])
    unknown = sorted(it.names - it.batch().keys())
    if unknown:
        fault(
            f"to know the entry `{unknown[0]}` that the loss reads",
            "the kit has no example of it",
            "Give one: extras={" + f"{unknown[0]!r}: torch.randn(12, ...)" + "}, a tensor"
            " [N, ...] as a tower or a projection gives it.",
        )
    for batch in (it.batch(), it.minimum):
        try:
            it.module(batch)
        except KeyError as error:
            fault(f"to need no more than {', '.join(sorted(batch)) or 'nothing'}",
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
    for name, value, what in (
        ("cluster", torch.full((it.rows,), -1), "no cluster is known (all -1)"),
        ("text.id", torch.zeros(it.rows, dtype=torch.int64), "all texts are equal"),
        ("pair.weight", torch.zeros(it.rows), "no row counts (all weights 0)"),
    ):
        if name in it.names:
            batch = {**it.batch(), name: value}
            if not call(it.module, batch, expected=f"to run where {what}").isfinite():
                fault(f"a finite loss where {what}", "NaN or infinity")


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
    why="Training follows the gradient: an entry without one leaves its tower as it is.",
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
    if it.target.reads_if_given and [
        *module.parameters()
    ]:  # one may stand in for what is not given
        module({name: tensor.detach() for name, tensor in it.minimum.items()}).backward()
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
    images = [n for n in it.names if n.startswith("image.") or n.endswith(".image")]
    if not images and any(name.startswith("teacher.") for name in it.names):
        raise NotApplicable("it reads no images")
    right = it.batch(near=0.3)
    # What a teacher found stays with its row: it says what is right.
    texts = {name: t.roll(1, dims=0) for name, t in right.items() if name in _OF_TEXTS}
    wrong = {**right, **texts}
    small, large = it.value(right), it.value(wrong)
    if abs(small - large) <= 1e-6 * max(1, abs(small)):
        raise NotApplicable("its value does not depend on which text belongs to which image")
    if small > large:
        fault(
            "a smaller loss for right pairs than for the same texts moved by a row",
            f"{small:.4g} for right pairs, {large:.4g} for wrong ones: is the sign turned?",
        )


@rule(
    contract=f"{_LOSS}.part",
    says="The terms of some rows, each with all columns: over a partition they add up to the loss.",
    why="Each of several processes computes the terms of its own rows, and training adds them up: a"
    " run in two processes would train another model than a run in one.",
    needs=("determinism", "gradients"),
)
def parts(it: LossSubject) -> None:
    """The parts of two and of three sets of rows: value and gradients of the whole."""
    if not it.target.by_rows:
        raise NotApplicable("it needs the whole batch (`by_rows` is false)")
    half = max(2, it.rows // 2)
    for batch in (it.batch(), it.minimum):
        whole = _with_gradients(it, batch, [slice(None)])
        for cuts in ((0, half, it.rows), (0, 1, half, it.rows)):
            rows = [slice(a, b) for a, b in pairwise(cuts)]
            found = _with_gradients(it, batch, rows)
            for name, value in whole.items():
                if not torch.allclose(found[name], value, rtol=1e-4, atol=1e-5):
                    off = float((found[name] - value).abs().max())
                    fault(
                        f"the parts of {len(rows)} sets of rows to add up to the whole loss",
                        f"{name} is off by {off:.3g}: is each term divided by the rows of the whole"
                        " batch, and is each row's right column that of its own place?",
                    )


def _with_gradients(it: LossSubject, batch: State, rows: list[slice]) -> dict[str, Tensor]:
    """The loss and its gradients, as a whole (one set of rows) or from its parts."""
    module = it.make().train()
    leaves = {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in batch.items()
    }
    torch.manual_seed(0)
    found = [module(leaves)] if len(rows) == 1 else [
        call(module.part, leaves, some, expected="part(batch, rows) to give a number")
        for some in rows
    ]  # fmt: skip
    total = torch.stack(found).sum()
    total.backward()  # type: ignore[no-untyped-call]
    grads = {f"the gradient at `{n}`": t.grad for n, t in leaves.items() if t.grad is not None}
    own = {f"the gradient at `{n}`": p.grad for n, p in module.named_parameters()}
    return {"the value": total.detach()} | grads | {n: g for n, g in own.items() if g is not None}


RULES = (
    reads,
    scalar,
    not_weighted,
    determinism,
    gradients,
    right_pairs,
    parts,
)

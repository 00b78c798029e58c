"""What compressors promise."""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.contracts.tokenizer import Tokenizer
from engine.testing.common import call, imports_no_torch
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.doubles import Characters
from engine.testing.small_text import SmallText, SmallTextSettings, SmallVisionSettings
from engine.testing.subject import Subject

_COMPRESSOR = "engine.contracts.compressor.Compressor"
_PLAN, _APPLY = f"{_COMPRESSOR}.plan", f"{_COMPRESSOR}.apply"
_TEXTS = ("красный круг", "a blue square", "кот", "on the left", "x")


class CompressorSubject(Subject):
    """A compressor, tried on a small text encoder with the weights of a fixed seed."""

    def make(self) -> Compressor:
        """A new one."""
        made: Compressor = self.target(self.settings)
        return made

    @cached_property
    def text(self) -> SmallTextSettings:
        """Settings of the model that is made smaller."""
        return SmallTextSettings()

    @cached_property
    def facts(self) -> ModelFacts:
        """The model before its weights."""
        tokenizer = Characters(self.text.vocab_size)
        return ModelFacts(self.text, SmallVisionSettings(), tokenizer, _TEXTS, ("ru", "en"))

    def step(self) -> CompressionStep:
        """What a new compressor would do.

        Raises:
            NotApplicable: nothing.
        """
        found = call(self.make().plan, self.facts, expected="plan(model) to give a Step or None")
        if found is None:
            raise NotApplicable("it finds nothing to do on the kit's small text encoder")
        if not isinstance(found, CompressionStep):
            fault("a Step or None", f"a {type(found).__name__}")
        return found

    def smaller(self, step: CompressionStep) -> SmallTextSettings:
        """The settings after a step; what it changes of the vision tower is left out."""
        try:
            changes = json.loads(json.dumps(dict(step.settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            fault("settings of JSON types", f"{step.settings!r}: {error}")
        own = {k.removeprefix("text."): v for k, v in changes.items() if k.startswith("text.")}
        known = self.text.model_dump(by_alias=True) | own
        try:
            return SmallTextSettings.model_validate(known, context={"registry": self.registry})
        except ValidationError as error:
            fault("changes that are valid together", str(error.errors()[0]["msg"]))

    def model(self, settings: SmallTextSettings) -> SmallText:
        """A model; its weights are the same each time."""
        torch.manual_seed(5)
        return SmallText(settings)

    def tensors(self) -> dict[str, Tensor]:
        """The state dict of the model."""
        own = self.model(self.text).state_dict()
        return {f"text.{name}": tensor for name, tensor in own.items()} | {
            "logit_scale": torch.tensor(1.5)
        }

    def shapes(self, settings: SmallTextSettings) -> dict[str, tuple[int, ...]]:
        """The shapes that a smaller model has."""
        plan = settings.plan().tensors
        return {f"text.{name}": tensor.shape for name, tensor in plan.items()} | {"logit_scale": ()}

    def apply(self, step: CompressionStep, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the smaller model, by a new compressor."""
        shapes = self.shapes(self.smaller(step))
        expected = "apply(step, tensors, shapes) to give the tensors"
        return dict(call(self.make().apply, step, tensors, shapes, expected=expected))


SUBJECT = CompressorSubject


def _numbers(settings: SmallTextSettings) -> int:
    return sum(math.prod(tensor.shape) for tensor in settings.plan().tensors.values())


@rule(
    contract=_PLAN,
    says="What it would do; ``None``: there is nothing to do for it on this model.",
    why="`engine fit --plan` tells the bytes of a smaller model from the plan alone.",
    needs=("settings_valid",),
)
def plans(it: CompressorSubject) -> None:
    """A step whose changes are valid together and make the model smaller, with a summary."""
    step = it.step()
    if not step.summary.strip():
        fault("a summary of the step, for the user", "an empty one")
    before, after = _numbers(it.text), _numbers(it.smaller(step))
    if any(key.startswith("text.") for key in step.settings) and after >= before:
        fault(f"fewer than the {before} numbers that the model has", f"{after}")


@rule(
    contract=_PLAN,
    says="The same model gives the same step.",
    why="A fit that is repeated elsewhere gives the same artifact.",
    needs=("plans",),
)
def repeats(it: CompressorSubject) -> None:
    """Two compressors of the same settings plan the same."""
    one, other = it.step(), it.step()
    if (dict(one.settings), one.summary) != (dict(other.settings), other.summary):
        fault(f"the same step again, {dict(one.settings)}", f"{dict(other.settings)}")


@rule(
    contract=_APPLY,
    says="The tensors of the smaller model.",
    why="A model is read from them: a tensor that is missing or has another shape does not fit.",
    needs=("plans",),
)
def applies(it: CompressorSubject) -> None:
    """Names and shapes are those of the smaller model, and the numbers are finite."""
    step = it.step()
    shapes = it.shapes(it.smaller(step))
    found = it.apply(step, it.tensors())
    own = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if own != shapes:
        different = sorted(
            name for name in own.keys() | shapes.keys() if own.get(name) != shapes.get(name)
        )
        name = different[0]
        fault(f"{name} of shape {shapes.get(name, 'none')}", f"{own.get(name, 'none')}")
    for name, tensor in found.items():
        if not bool(tensor.isfinite().all()):
            fault("finite numbers", f"{name} holds some that are not finite")


@rule(
    contract=_APPLY,
    says="What it was given is not changed in place.",
    why="The original is compared with the smaller model afterwards.",
    needs=("applies",),
)
def leaves_the_model(it: CompressorSubject) -> None:
    """The tensors that it is given stay as they are."""
    tensors = it.tensors()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    it.apply(it.step(), tensors)
    for name, tensor in before.items():
        if name not in tensors or not torch.equal(tensors[name], tensor):
            fault(f"{name} to stay as it was", "it changed")


@rule(
    contract=f"{_COMPRESSOR}.lossless",
    says="For which input the result's answers are those of the model, bit for bit.",
    why="`engine fit` takes lossless steps without measuring what they cost.",
    needs=("applies",),
)
def lossless(it: CompressorSubject) -> None:
    """For its examples, the features are the same, bit for bit."""
    said = it.make().lossless
    if said is None:
        raise NotApplicable("it does not say that it is lossless")
    step = it.step()
    smaller = it.smaller(step)
    made = it.model(smaller)
    found = it.apply(step, it.tensors())
    own = {n.removeprefix("text."): t for n, t in found.items() if n.startswith("text.")}
    made.load_state_dict(own)
    before: Tokenizer = it.facts.tokenizer  # type: ignore[assignment]
    after = step.tokenizer or before
    original = it.model(it.text)
    texts = [text for text in (*step.examples, *_TEXTS) if text]
    with torch.no_grad():
        for text in texts:
            (old,) = before.encode([text], it.text.max_tokens)
            (new,) = after.encode([text], smaller.max_tokens)
            if not torch.equal(original(old), made(new)):
                fault(f"the same features for {text!r} ({said})", "other numbers")


@rule(
    contract=_PLAN,
    says="It reads no weights and imports no torch.",
    why="`engine fit --plan` answers in a moment; importing torch takes seconds.",
    needs=("plans",),
)
def works_without_torch(it: CompressorSubject) -> None:
    """The compressor's module imports in a process of its own without torch."""
    imports_no_torch(it)


RULES: tuple[Any, ...] = (
    plans, repeats, applies, leaves_the_model, lossless, works_without_torch,
)  # fmt: skip

"""Filling a module with a source's tensors: every one fits, and every number is finite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from engine.contracts.finite import check_finite
from engine.errors import EngineError, WeightsError, did_you_mean
from engine.printable import one_line

_SHOWN = 8
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def tied_names(module: nn.Module) -> dict[str, str]:
    """The names of tensors that are another name's tensor too, with the first of these names.

    A module ties two parameters by giving both names the same object (``head.weight =
    embedding.weight``). Only what is in the state dict counts.
    """
    stored = module.state_dict().keys()
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    everything = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    objects = {name: id(tensor) for name, tensor in everything}
    for name in stored:
        if name in objects:
            chief = first.setdefault(objects[name], name)
            if chief != name:
                tied[name] = chief
    return tied


def with_ties(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, completed: where one name of a tied group is given, all of them are.

    Raises:
        WeightsError: two names that the module ties are given different tensors.
    """
    complete = dict(tensors)
    groups: dict[str, list[str]] = {}
    for name, chief in tied_names(module).items():
        groups.setdefault(chief, [chief]).append(name)
    for names in groups.values():
        given = [name for name in names if name in tensors]
        for name in given[1:]:
            if not _equal(tensors[name], tensors[given[0]]):
                raise WeightsError(
                    f"{given[0]} and {name} differ, and the model has one tensor for both",
                    hint="The weights come from a model that does not tie them.",
                )
        if given:
            complete |= dict.fromkeys(names, tensors[given[0]])
    return complete


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def explain_misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """How ``given`` fails to fill a state dict: one line a tensor, the first eight; or ``""``.

    A tensor fits in shape and in the sort of its numbers: integers, booleans and complex numbers
    are not weights, and what counts (a counter of BatchNorm) is not filled with fractions.
    """
    differences = [f"missing: {name}" for name in own if name not in given]
    differences += [
        f"unknown: {name}{did_you_mean(name, list(own))}" for name in given if name not in own
    ]
    common = [name for name in own if name in given]
    differences += [
        f"shape of {name}: {tuple(given[name].shape)} there, {tuple(own[name].shape)} here"
        for name in common
        if given[name].shape != own[name].shape
    ]
    differences += [
        f"dtype of {name}: {_dtype(given[name])} there, {_dtype(own[name])} here"
        for name in common
        if _sort(given[name].dtype) != _sort(own[name].dtype)
    ]
    more = [f"and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return "\n".join(f"  {line}" for line in differences[:_SHOWN] + more)


def _sort(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "floating"
    if dtype.is_complex:
        return "complex"
    return "boolean" if dtype == torch.bool else "integer"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@contextlib.contextmanager
def adapting(where: str, what: str) -> Iterator[None]:
    """What a plugin's own code raises on tensors that it did not expect becomes a WeightsError.

    Args:
        where: what holds the tensors, for the message.
        what: whose code it is.
    """
    try:
        yield
    except _FAULTS as error:
        reason = one_line(str(error)) or type(error).__name__
        raise WeightsError(
            f"{where}: its tensors are not as {what} expects them ({reason})",
            hint="Check that the config, or the layout, is that of the weights.",
        ) from error


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, *, misfit: str, hint: str
) -> None:
    """Copy a source's tensors into a module, in the module's own dtypes; ties are kept.

    Args:
        module: on a real device.
        tensors: by the module's own names; of tied tensors one name is enough.
        where: what holds the tensors, for messages: a source, a path.
        misfit: the sentence for what does not fit what.
        hint: what to do then.

    Raises:
        WeightsError: a name is missing or unknown, a shape or sort of numbers differs, tied tensors
            differ, or a number is not finite in the module's dtype.
    """
    complete = with_ties(module, tensors)
    if lines := explain_misfit(module.state_dict(), complete):
        raise WeightsError(f"{misfit}:\n{lines}", hint=hint)
    module.load_state_dict(complete, strict=True)
    check_filled(where, module)


def check_filled(where: str, module: nn.Module, error: type[EngineError] = WeightsError) -> None:
    """Raise ``error`` where a stored number of a module is not finite."""
    check_finite(
        where,
        module.state_dict(),
        error=error,
        hint="The file is damaged, or its training diverged: use an earlier checkpoint.",
    )

"""Checkpoints of any program: tensors by name, or a reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.core.weights import kinds, torch_files
from engine.core.weights.claims import SIZES, Claim, CodeError, Opaque, PickleError
from engine.core.weights.wrappers import plain_names, state_dict_of
from engine.errors import EngineError, WeightsError
from engine.printable import one_line

_MAX_ALIASED = 16  # tensors may share memory; together they claim at most so many times the file
_ALWAYS_ALLOWED = 64 << 20
_AGAIN = "The file is cut short or damaged: download it again."


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name.

    What the file is follows from its bytes, not from its name: safetensors or a torch file. What
    training programs put around a state dict is taken off, see ``engine.core.weights.wrappers``.
    The tensors have the dtype that they are stored in; those that shared memory share it.

    Raises:
        WeightsError: missing, cut short, damaged, holding code, or holding no tensors.
    """
    head = kinds.read_head(path)
    if kinds.is_safetensors(head, path.stat().st_size):
        return _of_safetensors(path)
    if kinds.is_zip(head):
        return _of_torch(path, torch_files.read_archive)
    if kinds.is_pickle(head):
        return _of_torch(path, torch_files.read_legacy)
    kind = kinds.foreign(head)
    raise WeightsError(f"{path} is {kind.what}, not a file of weights", hint=kind.hint)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, under the names that they have there.

    Raises:
        WeightsError: it is not whole.
    """
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:  # the library and torch raise many kinds on damaged files
        reason = str(error) or type(error).__name__
        raise WeightsError(
            f"{path}: not a whole safetensors file ({reason[:200]})", hint=_AGAIN
        ) from error


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    tensors = read_safetensors(path)
    if not tensors:
        raise _not_weights(path, "it is empty")
    try:
        return plain_names(tensors)
    except WeightsError as error:
        raise _not_weights(path, error.message) from error


def _of_torch(path: Path, read: Callable[[Path], torch_files.TorchFile]) -> dict[str, Tensor]:
    """Read a torch file; whatever goes wrong on foreign bytes is a WeightsError."""
    try:
        return _tensors(path, read(path))
    except EngineError:
        raise
    except torch_files.TorchScriptError as error:
        raise WeightsError(
            f"{path}: a TorchScript archive, which is a program, not only weights",
            hint="save its state_dict() as safetensors in the program that it came from",
        ) from error
    except torch_files.NotTorchError as error:
        raise _not_torch(path, error.names) from error
    except CodeError as error:
        raise WeightsError(
            f"{path}: its pickle names {one_line(error.name)}, which is more than tensors, so it"
            " could run code; refused",
            hint="Where you trust the file, load it in the program that it came from and save the"
            " model's state_dict() as safetensors.",
        ) from error
    except PickleError as error:
        raise WeightsError(
            f"{path}: cannot be read as a torch file: {error}", hint=_AGAIN
        ) from error
    except Exception as error:  # zipfile, mmap and torch raise many kinds on hostile bytes
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise WeightsError(
            f"{path}: cannot be read as a torch file ({reason})", hint=_AGAIN
        ) from error


def _not_torch(path: Path, names: list[str]) -> WeightsError:
    if not names:
        return WeightsError(
            f"{path}: a pickle that torch did not write. A pickle could run code; refused",
            hint="Save the weights as safetensors in the program that they came from.",
        )
    what = "NumPy arrays (.npz)" if names[0].endswith(".npy") else ", ".join(map(one_line, names))
    return WeightsError(
        f"{path} is a zip archive of {what}, not a file of weights",
        hint="Unpack it and name the file inside that holds the weights, or convert it to"
        " safetensors.",
    )


def _tensors(path: Path, file: torch_files.TorchFile) -> dict[str, Tensor]:
    def is_tensor(value: Any) -> bool:
        return isinstance(value, Claim)

    try:
        state = state_dict_of(file.tree, is_tensor)
        claims = plain_names(_claims(state))
    except WeightsError as error:
        raise _not_weights(path, error.message) from error
    _check_amount(claims, file.size)
    tensors = {}
    for name, claim in claims.items():
        try:
            tensors[name] = file.tensor(claim)
        except PickleError as error:
            raise PickleError(f"`{one_line(name)}`: {error}") from error
    return tensors


def _claims(state: Mapping[Any, Any]) -> dict[str, Claim]:
    """The tensors of a state dict.

    Raises:
        WeightsError: something else is among them.
    """
    found: dict[str, Claim] = {}
    for name, value in state.items():
        if isinstance(value, Claim):
            found[str(name)] = value
        elif not str(name).endswith("_extra_state"):  # torch's own place for what is not a weight
            odd = isinstance(value, Opaque)
            what = value.what if odd else f"of type {type(value).__name__}"
            raise WeightsError(f"`{one_line(str(name))}` is {what}, not a tensor of numbers")
    return found


def _check_amount(claims: Mapping[str, Claim], size: int) -> None:
    """Refuse a small file whose tensors repeat the same numbers beyond all measure."""
    total = sum(math.prod(c.shape) * SIZES[c.dtype] for c in claims.values())
    if total > _MAX_ALIASED * size + _ALWAYS_ALLOWED:
        raise PickleError(f"its tensors claim {total:,} bytes, and the file has {size:,}")


def _not_weights(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path}: not a checkpoint of weights: {what}",
        hint="Expected a state dict: tensors by name, as `torch.save(model.state_dict(), ...)` or"
        " safetensors write it.",
    )

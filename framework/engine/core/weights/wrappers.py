"""What training programs put around a state dict, taken off.

========================================= =========================================================
entry of the checkpoint                   who writes it
========================================= =========================================================
``state_dict``                            open_clip, PyTorch Lightning, timm, MMEngine
``model_state_dict``, ``model_state``     PyTorch's own tutorials, and many after them
``model``                                 torchtune, DETR, DeiT, fairseq, timm
``module``                                DeepSpeed
``net``, ``network``, ``params``,         smaller repositories (BasicSR: ``params``)
``weights``, ``state``
``state_dict_ema``, ``model_ema``,        averaged weights: taken only where the others are missing
``ema_state_dict``, ``ema``,
``params_ema``
========================================= =========================================================

They may stand inside each other. Before every name stand ``module.`` (data-parallel training,
DeepSpeed, ``AveragedModel``), ``model.`` (Lightning), ``_forward_module.`` (Lightning Fabric), also
one behind the other. ``_orig_mod`` (``torch.compile``), ``_fsdp_wrapped_module`` and
``_checkpoint_wrapped_module`` may stand anywhere in a name: PyTorch reserves these names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from engine.errors import WeightsError

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params",
    "weights", "state", "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema",
)  # fmt: skip
"""Entries that may hold the state dict, the first to be taken first."""

PREFIXES = ("module.", "model.", "_forward_module.")
"""Taken off where every name begins with them."""

RESERVED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Taken off wherever they stand in a name."""

_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel, beside its `module.` names
_DEEPEST = 5

T = TypeVar("T")


def state_dict_of(tree: Any, is_tensor: Callable[[Any], bool]) -> Mapping[Any, Any]:
    """The state dict inside of what a checkpoint holds.

    Args:
        tree: what was saved.
        is_tensor: whether a value is a tensor.

    Raises:
        WeightsError: there is none.
    """
    if not isinstance(tree, Mapping):
        what = "a single tensor" if is_tensor(tree) else f"a value of type {type(tree).__name__}"
        raise WeightsError(f"it holds {what}")
    state: Mapping[Any, Any] = tree
    for _ in range(_DEEPEST):
        inner = _wrapped(state, is_tensor, _DEEPEST)
        if inner is None:
            break
        state = inner
    if not state:
        raise WeightsError("it is empty")
    if not any(map(is_tensor, state.values())):
        raise WeightsError("it holds no tensors" + _candidates(state, is_tensor))
    return state


def _wrapped(
    tree: Mapping[Any, Any], is_tensor: Callable[[Any], bool], depth: int
) -> Mapping[Any, Any] | None:
    """The entry of a known name that holds tensors, itself or inside another such entry."""
    for name in WRAPPERS:
        inner = tree.get(name)
        if not isinstance(inner, Mapping):
            continue
        if any(map(is_tensor, inner.values())):
            return inner
        if depth and _wrapped(inner, is_tensor, depth - 1) is not None:
            return inner
    return None


def _candidates(tree: Mapping[Any, Any], is_tensor: Callable[[Any], bool]) -> str:
    """Entries that hold tensors under names that say nothing about which is wanted."""
    found = [
        f"`{name}`"
        for name, value in tree.items()
        if isinstance(value, Mapping) and any(map(is_tensor, value.values()))
    ]
    return f" itself, only its entries {', '.join(found[:6])} do: save one of them" if found else ""


def plain_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same tensors without the prefixes of wrappers.

    Raises:
        WeightsError: two tensors would have one name.
    """
    found: dict[str, T] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        plain = ".".join(part for part in name.split(".") if part not in RESERVED)
        if plain in found:
            raise WeightsError(f"`{origin[plain]}` and `{name}` are both {plain}")
        found[plain], origin[plain] = tensor, name
    while prefix := _common_prefix(found):
        found.pop(_COUNTER, None)
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _common_prefix(tensors: Mapping[str, T]) -> str:
    names = [name for name in tensors if name != _COUNTER]
    for prefix in PREFIXES:
        if names and all(name.startswith(prefix) and len(name) > len(prefix) for name in names):
            return prefix
    return ""

"""What everything with weights promises: initialisation, size, storage, dtypes."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from engine.contracts.plan import Plan
from engine.contracts.state import State
from engine.core.size import plan_of_module
from engine.errors import EngineError
from engine.testing.common import call
from engine.testing.core import NotApplicable, describe, fault
from engine.testing.subject import Subject

MAX_BYTES = 500_000_000
"""Weights heavier than this are not built, unless the author says so."""

_BYTES = {"float": 4, "int64": 8, "bool": 1}


class ModuleSubject(Subject):
    """A plugin that is an ``nn.Module`` from a state to a state."""

    output: str
    """The entry that it adds."""

    def create(self) -> Any:
        """A new one, on the default device."""
        raise NotImplementedError

    def feed(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
        """An ordinary input, the same at each call; other rows of the same shape by another seed.

        Masks, and so the lengths of texts, are the same for every seed.
        """
        raise NotImplementedError

    def own_plan(self) -> Plan | None:
        """The plan that follows from the settings, where there is one."""
        raise NotImplementedError

    def make(self, seed: int = 0) -> Any:
        """A new one whose random weights follow from the seed."""
        torch.manual_seed(seed)
        return self.create()

    @cached_property
    def module(self) -> Any:
        """In eval mode, with weights at which faults show.

        Fresh biases are 0, norms 1 and 0, attention is nearly flat: much could be wrong unnoticed.
        Buffers stay: they may be tables.
        """
        module = self.make()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in module.parameters():
                if not parameter.is_floating_point():
                    continue
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * max(0.02, fan_in**-0.5))
        return module.eval()

    def out(self, state: State, module: Any = None) -> Tensor:
        """What the module adds to a state, without gradients."""
        with torch.no_grad():
            found: Tensor = (module or self.module)(state)[self.output]
        return found

    @cached_property
    def plain(self) -> Tensor:
        """What the module gives for :meth:`feed`."""
        return self.out(self.feed())

    @property
    def tolerance(self) -> float:
        """See the hint."""
        return self.hints.get("tolerance", 1e-5)

    def meta(self) -> Any:
        """A new one on the meta device."""
        with torch.device("meta"):
            return self.create()


def error_of(found: Tensor, right: Tensor) -> float:
    """The largest difference, relative to the largest number; infinite where shapes differ."""
    if found.shape != right.shape:
        return math.inf
    if not found.numel():
        return 0.0
    scale = max(float(right.abs().max()), 1e-3)
    error = float((found.double() - right.double()).abs().max()) / scale
    return math.inf if math.isnan(error) else error


def weight_of(plan: Plan) -> int:
    """Bytes of the numbers of a plan, floats as float32."""
    return sum(math.prod(one.shape) * _BYTES[one.dtype] for one in plan.values())


def check_weight(it: ModuleSubject) -> None:
    """Violation where the plugin would be too heavy to test, reported before it is built."""
    maximum = it.hints.get("max_bytes", MAX_BYTES)
    try:
        weight = weight_of(it.own_plan() or plan_of_module(it.meta()))
    except Exception:  # `plan` and `meta_build` are checked on their own
        return
    if weight > maximum:
        fault(
            f"a plugin of at most {maximum:,} bytes to test with",
            f"with these settings it has {weight:,} bytes of weights",
            "The checks build it many times. Give smaller settings={...}, or allow more with"
            " max_bytes=.",
        )


def initialisation(it: ModuleSubject) -> None:
    """Same seed, same weights; no memory that nobody wrote."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")  # fills fresh memory with NaN
    try:
        first, again = (it.make(7).state_dict() for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode(before)
    for name, tensor in first.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            fault(
                f"every number of `{name}` to be initialised",
                "memory that nobody wrote (torch.empty without an nn.init afterwards), or NaN",
            )
        if not torch.equal(tensor, again[name]):
            fault(
                "two builds after the same torch.manual_seed to have equal weights",
                f"`{name}` differs between them",
                "A config's `seed` is to give the same model on every machine: draw random numbers"
                " from torch's own generator, no other.",
            )


def tensors_registered(it: ModuleSubject) -> None:
    """No tensor is a plain attribute."""
    whole = it.make()
    for place, module in whole.named_modules():
        for name, value in plain_tensors(module, whole):
            where = f"{place}.{name}" if place else name
            fault(
                "every tensor to be a parameter or a buffer",
                f"`{where}` {tuple(value.shape)} is a plain attribute of"
                f" {type(module).__name__}; make it a buffer: self.register_buffer({name!r}, ...)",
            )


def plain_tensors(module: nn.Module, whole: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module that are not parameters or buffers of the whole.

    A list of registered ones is none (PyTorch's own GRU keeps one).
    """
    known = {id(tensor) for tensor in (*whole.parameters(), *whole.buffers())}
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        yield from (
            (name, one) for one in values if isinstance(one, Tensor) and id(one) not in known
        )


def meta_build(it: ModuleSubject) -> None:
    """The meta device builds the same tensors as a real one."""
    try:
        found = it.meta()
        here = [name for name, tensor in found.state_dict().items() if not tensor.is_meta]
    except Exception as error:
        fault("the constructor to work under torch.device('meta')", describe(error))
    if here:
        fault(
            "every tensor to be built on the meta device",
            f"`{here[0]}` is real: leave out `device=` and do not read data in the constructor",
        )
    real = call(plan_of_module, it.module, expected="tensors of floats, int64 or bool")
    compare_plans(plan_of_module(found), real, "the meta device", "a real build")


def plan(it: ModuleSubject, stored: Any = None) -> None:
    """The plan, where there is one, is the module to the byte.

    Args:
        it: the subject.
        stored: what is compared, by default the module itself.
    """
    own = call(it.own_plan, expected="a plan, or None")
    if own is None:
        raise NotApplicable("these settings give no plan; the meta device tells the size instead")
    real = plan_of_module(it.module if stored is None else stored)
    compare_plans(own, real, "plan()", "the module")


def compare_plans(one: Plan, right: Plan, one_name: str, right_name: str) -> None:
    """Violation where two plans differ; lists the first few tensors."""
    lines = [
        f"{name}: {_shape(one, name)} in {one_name}, {_shape(right, name)} in {right_name}"
        for name in dict.fromkeys([*right, *one])
        if one.get(name) != right.get(name)
    ]
    if lines:
        more = [f"and {len(lines) - 6} more"] if len(lines) > 6 else []
        fault(
            f"{one_name} and {right_name} to have the same tensors,"
            f" {weight_of(right):,} bytes in float32",
            "\n".join([f"{one_name} has {weight_of(one):,} bytes", *lines[:6], *more]),
        )


def _shape(plan: Plan, name: str) -> str:
    if name not in plan:
        return "missing"
    kind = "" if plan[name].dtype == "float" else f" {plan[name].dtype}"
    return f"{list(plan[name].shape)}{kind}{' (buffer)' if plan[name].buffer else ''}"


def save_and_load(it: ModuleSubject) -> None:
    """Through a file of safetensors into a new module: the same numbers come out."""
    from safetensors.torch import load_file, save_file

    tensors = {name: t.detach().clone().contiguous() for name, t in it.module.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        call(save_file, tensors, path, expected="a state dict that safetensors can hold")
        loaded = load_file(path)
    other = it.meta() if _all_stored(it.module) else it.make(1)
    call(other.load_state_dict, loaded, expected="a new module to take the state dict",
         strict=True, assign=True)  # fmt: skip
    error = error_of(it.out(it.feed(), other.eval()), it.plain)
    if error > it.tolerance:
        fault(f"the same {it.output} after saving and loading",
              f"they differ by {error:.2g} (relative to the largest)")  # fmt: skip


def _all_stored(module: nn.Module) -> bool:
    stored = module.state_dict()
    return all(name in stored for name, _ in module.named_buffers())


def dtypes(it: ModuleSubject) -> None:
    """Moved to another dtype, or under autocast, it computes there."""
    for dtype in (torch.bfloat16, torch.float16):
        module = it.make().eval().to(dtype)
        name = str(dtype).removeprefix("torch.")
        for own, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.dtype != dtype:
                fault(f"`{own}` to follow .to({name})", f"it stayed {tensor.dtype}")
        _in_dtype(it, module, dtype, f"after .to({name})")
    with torch.autocast("cpu", torch.bfloat16):
        found = call(it.out, it.feed(), expected="to run under autocast to bfloat16")
    if not found.isfinite().all():
        fault(f"finite {it.output} under autocast to bfloat16", "NaN or infinity")


def _in_dtype(it: ModuleSubject, module: Any, dtype: torch.dtype, when: str) -> None:
    try:
        found = it.out(it.feed(dtype), module)
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented for" in str(error):  # this PyTorch cannot, on a processor
            return
        fault(f"to run {when}", describe(error))
    except EngineError as error:
        fault(f"to run {when}", describe(error))
    if found.dtype != dtype:
        fault(f"{it.output} of {dtype} {when}",
              f"{found.dtype}: some tensor of the module does not follow the others")  # fmt: skip
    if not found.isfinite().all():
        fault(f"finite {it.output} {when}", "NaN or infinity")


def determinism(it: ModuleSubject) -> None:
    """Eval mode: the same input twice gives the same."""
    first = it.out(it.feed())
    for _ in range(2):
        torch.rand(3)  # another place in the random stream
        error = error_of(it.out(it.feed()), first)
        if error > it.tolerance:
            fault(
                f"the same {it.output} for the same input, in eval mode",
                f"a second call differs by {error:.2g} (relative to the largest)"
                f"{_random_parts(it.module)}",
            )


def _random_parts(module: nn.Module) -> str:
    active = [
        f"`{name}`" for name, one in module.named_modules()
        if isinstance(one, nn.modules.dropout._DropoutNd) and one.training
    ]  # fmt: skip
    if active:
        return f"; in training mode although eval() was called: {', '.join(active[:4])}"
    return "; is there a torch.rand, or a functional.dropout without training=self.training?"


def rows_apart(it: ModuleSubject) -> None:
    """In training mode a row keeps its numbers when the other rows change, or the module says so.

    (See :data:`engine.contracts.state.MixesRows`.) Shapes and the random stream stay, so dropout
    falls on the same places; its layers rest anyway, because a router may send other rows through
    them.
    """
    module = it.make()
    module.load_state_dict(it.module.state_dict())
    module.train()
    for one in module.modules():
        if isinstance(one, nn.modules.dropout._DropoutNd):
            one.eval()
    said = module.mixes_rows
    if not isinstance(said, bool) and said != "batch_norm":
        fault('`mixes_rows` to be False, True or "batch_norm"', repr(said))
    if said is True:
        return
    resting = _NoBatchNorm() if said == "batch_norm" else contextlib.nullcontext()
    state, other = it.feed(), it.feed(seed=1)
    count = len(next(iter(state.values())))
    for row in (0, count - 1):
        mixed = {name: tensor.clone() for name, tensor in other.items()}
        for name, tensor in state.items():
            mixed[name][row] = tensor[row]
        outs = []
        for given in (state, mixed):
            torch.manual_seed(0)
            with resting:
                own = {name: tensor.clone() for name, tensor in given.items()}
                outs.append(call(it.out, own, module, expected="a batch to go through in training"
                                 " mode")[row])  # fmt: skip
        error = error_of(outs[1], outs[0])
        if error > it.tolerance:
            how = 'mixes_rows = "batch_norm"' if _has_batch_norm(module) else "mixes_rows = True"
            fault(
                f"row {row} to keep its {it.output} in training mode when the other rows change,"
                f" with `mixes_rows` {said!r}",
                f"it differs by {error:.2g} (relative to the largest): a row sees its neighbours."
                f" Use GroupNorm or LayerNorm; or say so in the class: `{how}`, and training will"
                " keep batches whole"
                + ("; rows are mixed in another way than by batch_norm too, so it must be True"
                   if said else ""),
                "Training splits large batches, merges equal texts, and gives each process a part"
                " of the rows: what mixes rows would silently learn something else each time.",
            )  # fmt: skip


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules())


class _NoBatchNorm(TorchFunctionMode):
    """While in its ``with``, batch_norm scales and shifts only: what else mixes rows shows."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is functional.batch_norm:
            return _scaled(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _scaled(
    input: Tensor, mean: Any, var: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    *_: Any, **__: Any,
) -> Tensor:  # fmt: skip
    shape = [1, -1, *[1] * (input.dim() - 2)]
    out = input if weight is None else input * weight.view(shape)
    return out if bias is None else out + bias.view(shape)

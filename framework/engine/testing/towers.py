"""What towers of both kinds promise: what goes in and what comes out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.contracts.plan import Plan
from engine.contracts.state import Output, State
from engine.errors import WeightsError
from engine.testing import modules
from engine.testing.common import call, must_raise, source_of
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.modules import ModuleSubject, error_of

TOWER = "engine.contracts.tower.Tower"
RUN = f"{TOWER}.run"


class TowerSubject(ModuleSubject):
    """A text encoder or a vision tower."""

    output = "pooled"

    def create(self) -> Any:
        """A new tower with these settings."""
        return self.target(self.settings)

    def own_plan(self) -> Plan | None:
        """The plan that its settings give without torch."""
        plan = self.settings.plan()
        return None if plan is None else plan.tensors

    @property
    def count(self) -> int:
        """Number of segments."""
        return len(self.module.segments())

    def go(
        self,
        state: State,
        start: int,
        stop: int,
        module: Any = None,
        keep: frozenset[str] = frozenset(),
    ) -> State:
        """``run``, without gradients."""
        with torch.no_grad():
            found: State = (module or self.module).run(state, start, stop, keep=keep)
        return found

    def stored_inputs(self) -> tuple[State, State, State, list[int]]:
        """The input; one of a single short row, one of a single longer row; tokens of each row."""
        raise NotImplementedError

    def segment_names(self) -> list[str]:
        """Of the segments, in order."""
        return [segment.name for segment in self.module.segments()]


def rows_of(state: State, rows: list[int]) -> State:
    """Some rows of a state, copied."""
    return {name: tensor[rows].clone() for name, tensor in state.items()}


@rule(
    contract=TOWER,
    says="Its constructor takes the settings only, builds its modules without reading weights",
    why="Engine builds every tower as Class(settings).",
    needs=("settings_valid",),
)
def build(it: TowerSubject) -> None:
    """It is built, and has the attributes of its kind."""
    modules.check_weight(it)
    tower = call(it.make, expected=f"{it.target.__name__}(settings) to give a tower")
    wanted = {"width": int}
    if it.kind == "text_encoder":
        wanted["embedding_width"] = int
    for name, kind in wanted.items():
        value = getattr(tower, name, None)
        if not isinstance(value, kind) or value < 1:
            fault(f"`{name}`, a whole number of at least 1, after the constructor",
                  f"{value!r} (class at {source_of(it.target)})")  # fmt: skip


@rule(
    contract=f"{TOWER}.forward",
    says="Run the whole tower; the result has ``pooled`` [B, width].",
    why="The projection reads `pooled` of every tower.",
    needs=("build", "preprocess", "initialisation"),
)
def forward(it: TowerSubject) -> None:
    """A batch goes through and gives finite features, one row a sample."""
    state = it.feed()
    rows = len(next(iter(state.values())))
    with torch.no_grad():
        out = call(it.module, state, expected="the tower to take an ordinary batch")
    if not isinstance(out, dict) or not isinstance(out.get("pooled"), Tensor):
        fault(
            "a dictionary with the tensor `pooled`",
            f"{type(out).__name__}{f' with {sorted(out)}' if isinstance(out, dict) else ''}",
        )
    features = out["pooled"]
    if features.dim() != 2 or len(features) != rows:
        fault(
            f"features of shape [B, width], here [{rows}, {it.module.width}]",
            f"shape {list(features.shape)}",
        )
    if features.dtype != torch.float32:
        fault("features of the weights' dtype, float32", str(features.dtype))
    if not features.isfinite().all():
        fault("finite features", "NaN or infinity from random weights and an ordinary batch")


@rule(
    contract=TOWER,
    says='width: the width of the features, ``state["pooled"]`` is [B, width].',
    why="The projection behind the tower is built for `width`; the size of the model is counted"
    " from it before anything exists.",
    needs=("forward",),
)
def width(it: TowerSubject) -> None:
    """The features are as wide as the tower says."""
    wide, said = it.plain.shape[1], it.module.width
    if wide != said:
        fault(f"features [B, {said}], as tower.width says", f"features are {wide} wide")
    plan = it.settings.plan()
    if plan is not None and plan.width != wide:
        fault(f"plan().width to be {wide}", f"it is {plan.width}")


determinism = rule(
    contract=RUN,
    says="In eval mode the same state gives the same result.",
    why="The cache keeps what a frozen prefix gave once, and predictions are to be repeatable.",
    needs=("forward",),
)(modules.determinism)


@rule(
    contract=RUN,
    says="A row's result depends neither on the other rows nor on the amount of padding.",
    why="Training groups rows as it suits, equal texts run once, the cache keeps single rows, and a"
    " prediction must not change with the other images of a batch.",
    needs=("determinism",),
)
def batch_independence(it: TowerSubject) -> None:
    """A row alone, in another order, or beside others in training mode, keeps its features."""
    state, together = it.feed(), it.plain
    order = list(range(len(together)))[::-1]
    mixed = it.out(rows_of(state, order))
    _same_rows(it, mixed, together[order], "a batch in another order")
    for row in range(len(together)):
        alone = call(it.out, rows_of(state, [row]), expected=f"row {row} alone to go through")
        _same_rows(it, alone, together[[row]], f"row {row} alone")
    modules.rows_apart(it)


def _same_rows(it: TowerSubject, found: Tensor, right: Tensor, what: str) -> None:
    error = error_of(found, right)
    if error > it.tolerance:
        fault(
            f"{what} to give the same features as in the batch of {len(it.plain)}"
            f" (within {it.tolerance:g})",
            f"they differ by {error:.2g} (relative to the largest): a row sees its neighbours."
            " Usual causes: batch norm that is not in eval mode, a mean over dimension 0, a"
            " reshape that mixes dimensions",
        )


@rule(
    contract="engine.contracts.state",
    says="It never changes a state in place: it returns a new dictionary.",
    why="The same state is used again: by the projection, by the cache, by a second pass.",
    needs=("segments_compose",),
)
def state_unchanged(it: TowerSubject) -> None:
    """No range of segments changes the state that it is given."""
    point = it.feed()
    for index, name in enumerate(it.segment_names()):
        before = {key: tensor.clone() for key, tensor in point.items()}
        given = dict(point)
        following = it.go(given, index, index + 1)
        if given.keys() != before.keys():
            changed = sorted(given.keys() ^ before.keys())
            fault(f"run(state, {index}, {index + 1}) ({name}) to leave its state as it is",
                  f"`{changed[0]}` was {'added to' if changed[0] in given else 'taken from'} it:"
                  " begin run() with state = dict(state)")  # fmt: skip
        for key, tensor in before.items():
            if not torch.equal(given[key], tensor):
                fault(
                    f"run(state, {index}, {index + 1}) ({name}) to leave its state as it is",
                    f"state[{key!r}] holds other numbers afterwards: an in-place operation"
                    " (`+=`, `add_`, `relu_`, inplace=True) on what came in",
                )
        point = following


@rule(
    contract=TOWER,
    says="Moved to another floating dtype, or under autocast, it computes there.",
    why="Training runs in bfloat16 or float16 where the device has it.",
    needs=("forward",),
)
def dtypes(it: TowerSubject) -> None:
    """See modules."""
    modules.dtypes(it)


initialisation = rule(
    contract=TOWER,
    says="and initialises them from torch's own random generator: those are the weights of a build"
    " from scratch.",
    why="A config's `seed` is to give the same model on every machine, and a tower without a source"
    " of weights starts from these numbers.",
    needs=("build",),
)(modules.initialisation)

tensors_registered = rule(
    contract=TOWER,
    says="Every tensor it keeps is a parameter or a buffer.",
    why="What is neither is missing from the artifact and from its size, and stays behind when the"
    " tower moves to a GPU or to another dtype.",
    needs=("build",),
)(modules.tensors_registered)

meta_build = rule(
    contract=TOWER,
    says="builds its modules without reading weights (so it also builds on the meta device)",
    why="`engine size` counts the bytes of a model of any size without its memory.",
    needs=("build",),
)(modules.meta_build)


@rule(
    contract="engine.contracts.plan",
    says="a plugin whose parameters follow from its settings says so in a plan",
    why="`engine size` and the limit on bytes trust the plan: a wrong one lets a model through that"
    " is too heavy, or fails the build after an hour of training.",
    needs=("meta_build", "merge"),
)
def plan(it: TowerSubject) -> None:
    """The plan, where there is one, is the tower to the byte, merged as an artifact stores it."""
    stored = it.meta()
    stored.merge()
    modules.plan(it, stored)


save_and_load = rule(
    contract=TOWER,
    says="Every tensor it keeps is a parameter or a buffer.",
    why="An artifact is the state dict in a safetensors file.",
    needs=("determinism", "tensors_registered", "meta_build"),
)(modules.save_and_load)


@rule(
    contract=f"{TOWER}.load_weights",
    says="Load a source's tensors, every one of them fitting.",
    why="Weights that do not fit must be reported by name: a tower that was loaded by half trains"
    " and never gets good.",
    needs=("determinism",),
)
def load_weights(it: TowerSubject) -> None:
    """Its own tensors load; a missing one and one of another shape are WeightsErrors."""
    own = {name: tensor.clone() for name, tensor in it.module.state_dict().items()}
    if not own:
        raise NotApplicable("the tower has no tensors")
    other = it.make(1).eval()
    call(other.load_weights, own, "the kit", expected="a tower to load the tensors of its own kind")
    if (error := error_of(it.out(it.feed(), other), it.plain)) > it.tolerance:
        fault("the same features after load_weights", f"they differ by {error:.2g}")
    name = min(own, key=lambda one: (own[one].dim() != 1, -own[one].numel()))
    missing = {key: tensor for key, tensor in own.items() if key != name}
    must_raise(WeightsError, other.load_weights, missing, "the kit",
               expected=f"a WeightsError where `{name}` is missing")  # fmt: skip
    tensor = own[name]
    wrong = {**own, name: torch.zeros([*tensor.shape[:-1], (tensor.shape or (0,))[-1] + 3])}
    must_raise(WeightsError, other.load_weights, wrong, "the kit",
               expected=f"a WeightsError where `{name}` has another shape")  # fmt: skip


@rule(
    contract=f"{TOWER}.outputs",
    says="What :meth:`run` can leave in the state at the tower's end",
    why="A loss or a projection reads an output by its name; training refuses what is not listed"
    " and misses what is listed and not there.",
    needs=("width", "batch_independence", "segments_compose"),
)
def outputs(it: TowerSubject) -> None:
    """Kept, each output is there, from every cut, and the features stay what they are."""
    tower = it.module
    declared = dict(tower.outputs)
    if "pooled" not in declared or not all(isinstance(o, Output) for o in declared.values()):
        fault("`outputs`, names and engine.contracts.Output, with `pooled` among them",
              repr(declared)[:200])  # fmt: skip
    keep, count, rows = frozenset(declared), it.count, len(it.plain)
    whole = call(it.go, it.feed(), 0, count, keep=keep, expected="run(.., keep=...) to run")
    for name, output in declared.items():
        tensor = whole.get(name)
        if not isinstance(tensor, Tensor):
            fault(f"`{name}` in the state at the end where it is kept, as `outputs` says",
                  f"there are {', '.join(sorted(whole))}: take(state, name, keep) uses an entry up"
                  " unless it is kept")  # fmt: skip
        if len(tensor) != rows or not tensor.isfinite().all():
            fault(f"`{name}` with a finite row for each sample", f"shape {list(tensor.shape)}")
        if not _has_shape(it, tensor, output.shape):
            fault(f"`{name}` of shape {output.shape}", f"shape {list(tensor.shape)}")
    _same_rows(it, whole["pooled"], it.plain, "keeping outputs")
    for cut in range(count + 1):
        first = it.go(it.feed(), 0, cut, keep=keep)
        second = it.go(first, cut, count, keep=keep)
        for name in declared:
            if name not in second:
                fault(f"`{name}` where run(x, 0, {cut}) and run(.., {cut}, {count}) keep it",
                      "it is there after one run of the whole tower only")  # fmt: skip
            error = _error_on_tokens(it, declared[name], second[name], whole[name])
            if error > it.tolerance:
                fault(f"the same `{name}` cut after segment {cut}", f"it differs by {error:.2g}")


def _has_shape(it: TowerSubject, tensor: Tensor, shape: str) -> bool:
    """Whether a tensor is of a shape in words; a word that is not known fits any size."""
    words = [one.strip() for one in shape.strip("[]").split(",")]
    if words[0] != "B" or ("..." not in words and len(words) != tensor.dim()):
        return False
    if "..." in words:
        return True
    sizes = [_size(it, word) for word in words]
    return all(size in (None, found) for size, found in zip(sizes, tensor.shape, strict=True))


def _size(it: TowerSubject, word: str) -> int | None:
    """The size that a word of a shape stands for; ``None``: not known."""
    state = it.feed()
    if word == "B":
        return len(it.plain)
    if word == "L" and "mask" in state:
        return state["mask"].shape[1]
    if word.isdecimal():
        return int(word)
    found: Any = it.module
    for name in word.split("."):  # `width`, `settings.width`
        found = getattr(found, name, None)
    return found if type(found) is int else None


def _error_on_tokens(it: TowerSubject, output: Output, one: Tensor, other: Tensor) -> float:
    """The error of two tensors; where they count tokens, on tokens only."""
    mask = it.feed().get("mask")
    if output.counts_tokens and mask is not None:
        one, other = one[mask], other[mask]
    return error_of(one, other)


@rule(
    contract=f"{TOWER}.merge",
    says="Afterwards the features are the same, and the state dict has the names and shapes of the"
    " plain tower",
    why="An artifact is saved with adapters folded into the weights, and read back into a tower"
    " that was merged on the meta device before it was filled.",
    needs=("determinism", "meta_build"),
)
def merge(it: TowerSubject) -> None:
    """Merged, once or twice, it gives the same; merged on the meta device, it takes the weights."""
    merged = it.make().eval()
    merged.load_state_dict(it.module.state_dict())
    call(merged.merge, expected="merge() to run")
    _same_rows(it, it.out(it.feed(), merged), it.plain, "a merged tower")
    names = {name: tuple(t.shape) for name, t in merged.state_dict().items()}
    call(merged.merge, expected="a second merge() to do nothing")
    again = {name: tuple(t.shape) for name, t in merged.state_dict().items()}
    if names != again:
        fault("a second merge() to do nothing", "the state dict has other names or shapes after it")
    bare = it.meta()
    call(bare.merge, expected="merge() to work on the meta device")
    if {name: tuple(t.shape) for name, t in bare.state_dict().items()} != names:
        fault("the same names and shapes merged on the meta device", "they differ")


BASIC = (
    build,
    initialisation,
    forward,
    width,
    determinism,
    batch_independence,
)
STORED = (
    tensors_registered,
    meta_build,
    merge,
    plan,
    save_and_load,
    load_weights,
    dtypes,
)

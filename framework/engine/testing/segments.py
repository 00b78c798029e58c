"""What towers promise of their segments: freezing, counting and the cache stand on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from engine.contracts.state import Segment, State
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.modules import error_of
from engine.testing.towers import RUN, TOWER, TowerSubject

SEGMENTS = f"{TOWER}.segments"
SEGMENT = "engine.contracts.state.Segment"
_FROZEN = 5  # segments, evenly spread, that are frozen one at a time: each costs a backward pass


@rule(
    contract=SEGMENT,
    says='name: ``"stem"``, ``"block 0"`` ..., ``"head"``.',
    why="A config says which blocks train by these names, and tables show them.",
    needs=("build",),
)
def segments_named(it: TowerSubject) -> None:
    """Stem, blocks counted from 0, head."""
    found = call(it.module.segments, expected="segments() to give the segments")
    if not isinstance(found, list) or not all(isinstance(one, Segment) for one in found):
        fault("a list of engine.contracts.Segment", repr(found)[:200])
    names = [segment.name for segment in found]
    right = ["stem", *(f"block {i}" for i in range(len(names) - 2)), "head"]
    if names != right:
        fault("the names stem, block 0, block 1 ..., head, in this order", ", ".join(names))


@rule(
    contract=SEGMENTS,
    says="Stem, blocks and head in order; every parameter in exactly one of them.",
    why="A parameter that is in none is never frozen nor trained as the config says; one that is in"
    " two is counted twice and follows whichever comes last.",
    needs=("segments_named",),
)
def segments_hold_parameters(it: TowerSubject) -> None:
    """Every parameter is in exactly one segment."""
    names = {id(p): name for name, p in it.module.named_parameters()}
    places: dict[int, list[str]] = {key: [] for key in names}
    for segment in it.module.segments():
        for parameter in segment.parameters():
            if id(parameter) not in places:
                fault(
                    "segments of the tower's own parameters",
                    f"{segment.name} has one {tuple(parameter.shape)} that is not the tower's",
                )
            places[id(parameter)].append(segment.name)
    missing = [names[key] for key, where in places.items() if not where]
    if missing:
        fault("every parameter in one segment", f"in none: {_listed(missing)}")
    twice = {names[key]: " and ".join(where) for key, where in places.items() if len(where) > 1}
    if twice:
        fault("every parameter in one segment",
              f"in two: {_listed(list(twice))} (in {next(iter(twice.values()))})")  # fmt: skip


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"`{name}`" for name in names[:5]) + more


@rule(
    contract=RUN,
    says="``run(run(x, 0, k), k, n)`` equals ``run(x, 0, n)`` for every k.",
    why="Training runs the frozen prefix once, keeps its result, and goes on from there.",
    needs=("determinism", "segments_named"),
)
def segments_compose(it: TowerSubject) -> None:
    """Cut anywhere, the tower gives the same."""
    count, names = it.count, it.segment_names()
    for cut in range(count + 1):
        where = f"run(x, 0, {cut}), then run(.., {cut}, {count})"
        expected = f"{where} to be the whole run"
        first = call(it.go, it.feed(), 0, cut, expected=expected)
        if cut < count and "pooled" in first:
            fault(f"run(x, 0, {cut}) to stop after {names[cut - 1] if cut else 'nothing'}",
                  "it has `pooled` already: does run() heed `stop`?")  # fmt: skip
        second = call(it.go, first, cut, count, expected=expected)
        _same(it, second, expected)
    step = it.feed()
    for index in range(count):
        step = call(it.go, step, index, index + 1, expected="to run segment by segment")
    _same(it, step, "segment by segment to be the whole run")


def _same(it: TowerSubject, state: State, expected: str) -> None:
    if "pooled" not in state:
        fault(expected, f"there are no `pooled` in the end, only {sorted(state)}")
    error = error_of(state["pooled"], it.plain)
    if error > it.tolerance:
        fault(expected, f"the features differ by {error:.2g} (relative to the largest)")


@rule(
    contract="engine.contracts.state",
    says="Named tensors whose first dimension is the batch.",
    why="The cache keeps a state a row at a time: tensor[i] must be what row i needs.",
    needs=("segments_compose",),
)
def state_batch_first(it: TowerSubject) -> None:
    """Between segments every entry is a tensor with one row a sample."""
    state = it.feed()
    rows = len(next(iter(state.values())))
    for index, name in enumerate(it.segment_names()):
        state = it.go(state, index, index + 1)
        for key, value in state.items():
            if not isinstance(value, Tensor):
                fault("tensors alone in a state", f"after {name}: {key!r} is {type(value)}")
            if not value.dim() or len(value) != rows:
                fault(f"[{rows}, ...] for every entry of a batch of {rows}",
                      f"after {name}: state[{key!r}] is {list(value.shape)}")  # fmt: skip


@rule(
    contract="engine.contracts.state",
    says="a state holds everything the rest of the tower needs",
    why="What a frozen prefix gave is stored row by row in float32, without padding, and taken up"
    " again in other company, maybe in another process.",
    needs=("state_batch_first", "batch_independence", "padding_independence"),
)
def state_stored(it: TowerSubject) -> None:
    """Rows of a state, packed as the cache packs them, go on in a fresh tower."""
    from engine.cache.items import entries_of, pack, unpack

    other = it.make(0).eval()
    other.load_state_dict(it.module.state_dict())
    state, short, long, lengths = it.stored_inputs()
    rows = list(range(len(lengths)))[::-1]
    given = state.keys() & {"ids", "mask"}
    for cut in range(1, it.count):
        where = f"after {it.segment_names()[cut - 1]}"
        short_state, long_state = (
            {key: t for key, t in it.go(one, 0, cut).items() if key not in given}
            for one in (short, long)
        )
        _tokens_second(short_state, long_state, where)
        entries = entries_of(short_state, long_state, "float32")
        items = pack(it.go(it.feed(), 0, cut), entries, lengths)
        taken = unpack([items[row] for row in rows], entries, [lengths[row] for row in rows])
        whole = {**{key: state[key][rows] for key in given}, **taken}
        expected = f"rows stored {where} to go on, in a new tower, as if never stored"
        found = call(it.go, whole, cut, it.count, other, expected=expected)["pooled"]
        error = error_of(found, it.plain[rows])
        if error > it.tolerance:
            fault(expected, f"features differ by {error:.2g} (relative to the largest): does"
                  " something pass from segment to segment outside of the state?")  # fmt: skip


def _tokens_second(short: State, long: State, where: str) -> None:
    for key, tensor in short.items():
        changed = [i for i, (a, b) in enumerate(zip(tensor.shape, long[key].shape, strict=True))
                   if a != b]  # fmt: skip
        if changed not in ([], [1]):
            fault(
                "the tokens to be the second dimension, [B, L, ...], wherever a tensor counts them",
                f"{where}: state[{key!r}] is {list(tensor.shape)} for 2 tokens and"
                f" {list(long[key].shape)} for 3",
            )


@rule(
    contract=TOWER,
    says="Every parameter trains: each has its part in the features",
    why="A parameter without a gradient keeps its random start and takes bytes all the same."
    " What is not to train is a buffer; a config's `trains` decides about all parameters.",
    needs=("determinism",),
)
def gradients(it: TowerSubject) -> None:
    """Every parameter gets a gradient."""
    tower = it.make().eval()
    fixed = [name for name, p in tower.named_parameters() if not p.requires_grad]
    if fixed:
        fault("parameters that require a gradient from the start",
              f"{_listed(fixed)} with requires_grad=False: make it a buffer")  # fmt: skip
    _backward(it, tower)
    if without := [name for name, p in tower.named_parameters() if p.grad is None]:
        fault("a gradient for every parameter",
              f"none reaches {_listed(without)}: never used, or cut off (detach, no_grad,"
              " argmax, a new tensor made from numbers)")  # fmt: skip


def _backward(it: TowerSubject, tower: nn.Module) -> None:
    features = call(tower, it.feed(), expected="to run with gradients")["pooled"]
    if not features.requires_grad:
        fault("features with a gradient", "they have none: torch.no_grad or detach() inside?")
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    call((features * weights).sum().backward, expected="features that can be differentiated")


@rule(
    contract=SEGMENT,
    says="A part of a tower that is frozen, counted and cached as one",
    why="A stage freezes by segments: what it freezes must not move, what it trains must.",
    needs=("segments_hold_parameters", "gradients"),
)
def freezing(it: TowerSubject) -> None:
    """With one segment frozen, its parameters get no gradient and all others do."""
    tower = it.make().eval()
    segments = tower.segments()
    for index in sorted({round(i * (len(segments) - 1) / (_FROZEN - 1)) for i in range(_FROZEN)}):
        segment = segments[index]
        for parameter in tower.parameters():
            parameter.grad = None
            parameter.requires_grad_(True)
        frozen = {id(p) for p in segment.parameters()}
        if not frozen or len(frozen) == len(list(tower.parameters())):
            continue
        for parameter in segment.parameters():
            parameter.requires_grad_(False)
        _backward(it, tower)
        what = f"with segment {index} ({segment.name}) frozen"
        moved = [n for n, p in tower.named_parameters() if id(p) in frozen and p.grad is not None]
        if moved:
            fault(f"no gradient for its parameters {what}", f"there is one at {_listed(moved)}")
        still = [n for n, p in tower.named_parameters() if id(p) not in frozen and p.grad is None]
        if still:
            fault(f"a gradient for all other parameters {what}", f"none at {_listed(still)}")


@rule(
    contract=SEGMENT,
    says="A segment runs with its own parameters, or with those of segments before it.",
    why="The cache of a frozen prefix is found again by the weights of its segments; a part"
    " that uses a later segment's weights would be read back after those have changed.",
    needs=("segments_hold_parameters", "segments_compose", "gradients"),
)
def segments_use_their_own(it: TowerSubject) -> None:
    """The parameters that segment i is made of are those it runs with."""
    tower = it.make().eval()
    names = {id(p): name for name, p in tower.named_parameters()}
    segments, before = tower.segments(), set[int]()
    state = it.feed()
    for index, segment in enumerate(segments):
        own = {id(p) for p in segment.parameters()}
        before |= own
        out = tower.run(dict(state), index, index + 1)
        used = _used(out.values(), list(tower.parameters()))
        if foreign := [names[key] for key in used - before]:
            owner = next(s.name for s in segments for p in s.parameters() if id(p) in used - before)
            fault(f"{segment.name} to run with its own parameters",
                  f"it uses {_listed(foreign)}, listed under {owner}")  # fmt: skip
        if idle := [names[key] for key in own if key not in used]:
            fault(f"{segment.name} to use the parameters that it lists",
                  f"it does not use {_listed(idle)}: listed under the wrong segment?")  # fmt: skip
        state = {key: tensor.detach() for key, tensor in out.items()}


def _used(outputs: Iterable[Tensor], parameters: list[nn.Parameter]) -> set[int]:
    """Ids of the parameters that have a gradient from these outputs."""
    total = [tensor.sum() for tensor in outputs if tensor.requires_grad]
    if not total:
        return set()
    found = torch.autograd.grad(torch.stack(total).sum(), parameters, allow_unused=True)
    return {id(p) for p, grad in zip(parameters, found, strict=True) if grad is not None}


@rule(
    contract=SEGMENT,
    says="modules without parameters (dropout, say) belong to a segment too",
    why="A stage puts the parts of frozen segments in eval mode. What is outside of them stays in"
    " training mode, and the frozen prefix would be random, or learn.",
    needs=("segments_compose", "segments_hold_parameters"),
)
def frozen_is_still(it: TowerSubject) -> None:
    """All segments but the last frozen, as training does it: what they compute is a function."""
    tower = it.make().train()
    segments = tower.segments()
    for segment in segments[:-1]:
        for parameter in segment.parameters():
            parameter.requires_grad_(False)
        for part in segment.parts:
            if isinstance(part, nn.Module):
                part.eval()
    last = {id(p) for p in segments[-1].parameters()}
    last |= {id(b) for p in segments[-1].parts if isinstance(p, nn.Module) for b in p.buffers()}
    tensors = {**dict(tower.named_parameters()), **dict(tower.named_buffers())}
    before = {name: t.clone() for name, t in tensors.items() if id(t) not in last}
    first = it.go(it.feed(), 0, it.count - 1, tower)
    again = it.go(it.feed(), 0, it.count - 1, tower)
    changed = [name for name, tensor in before.items() if not torch.equal(tensors[name], tensor)]
    if changed:
        fault("frozen segments to keep their numbers while the tower runs",
              f"{_listed(changed)} changed in the forward pass")  # fmt: skip
    for key, tensor in first.items():
        if tensor.is_floating_point() and error_of(again[key], tensor) > it.tolerance:
            loose = [n for n, m in tower.named_children() if m.training and not _holds(segments, m)]
            fault(
                "frozen segments to give the same for the same input",
                f"state[{key!r}] differs from call to call while the head trains"
                + (f"; in no segment: {_listed(loose)}" if loose else ""),
            )


def _holds(segments: list[Segment], module: nn.Module) -> bool:
    own = Counter(id(one) for s in segments for p in s.parts if isinstance(p, nn.Module)
                  for one in p.modules())  # fmt: skip
    return any(id(one) in own for one in module.modules())


RULES = (
    segments_named,
    segments_hold_parameters,
    segments_compose,
    state_batch_first,
    state_stored,
    gradients,
    freezing,
    segments_use_their_own,
    frozen_is_still,
)

"""The storages that each tensor may have, with exact bytes; and the config of a combination.

Nothing here imports torch or numpy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from engine.compress.steps import validated
from engine.contracts.plan import Plan
from engine.contracts.refs import StorageRef
from engine.contracts.storage import Storage, StoredTensor
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry
from engine.core.size import header_bytes
from engine.core.storage import parts_of, plan_storage
from engine.errors import EngineError

SMALL = 4096
"""Tensors of fewer numbers, and vectors of any length, are chosen for together."""

REST = "the small tensors"

_FEW_BITS = 4.0


@dataclass(frozen=True)
class Choice:
    """A storage for one item.

    Attributes:
        ref: the storage; ``None``: float32 as it is.
        name: how it is shown: ``int4_groups (group 32)``.
        bytes: of all parts of the item's tensors, with what they add to the header.
    """

    ref: StorageRef | None
    name: str
    bytes: int

    @property
    def learned(self) -> bool:
        """Whether its storage is learned from the numbers."""
        return self.ref is not None and bool(self.ref.target().learned)

    def to_config(self) -> dict[str, Any] | None:
        """As a config names it."""
        if self.ref is None:
            return None
        return {key: value for key, value in self.ref.to_config().items() if key != "match"}


@dataclass(frozen=True)
class ChoiceItem:
    """A tensor, or all small ones together.

    Attributes:
        name: the tensor's name, or ``REST``.
        tensors: names and shapes.
        choices: the first is how the tensor is stored now.
    """

    name: str
    tensors: Mapping[str, tuple[int, ...]]
    choices: tuple[Choice, ...]

    @property
    def numbers(self) -> int:
        """Numbers in all its tensors."""
        return sum(math.prod(shape) for shape in self.tensors.values())


def storages(registry: Registry) -> list[StorageRef]:
    """Every installed storage with each of the settings that it offers."""
    adapter: TypeAdapter[StorageRef] = TypeAdapter(StorageRef)
    found = []
    for name in sorted(registry.names("storage")):
        target: type[Storage] = registry.get("storage", name).load()
        for settings in target.candidates():
            found.append(
                adapter.validate_python({"use": name, **settings}, context={"registry": registry})
            )
    return found


def shown(ref: StorageRef | None) -> str:
    """A storage with the settings that are not its defaults."""
    if ref is None:
        return "float32"
    own = ref.settings
    rest = [
        f"{key} {value}" if not isinstance(value, bool) else key if value else f"not {key}"
        for key, value in own.model_dump(mode="json", exclude={"match"}).items()
        if value != type(own).model_fields[key].default
    ]
    return f"{ref.name} ({', '.join(rest)})" if rest else ref.name


def items_of(plan: Plan, config: EngineConfig, registry: Registry) -> list[ChoiceItem]:
    """The tensors of a model, with what each may be stored as.

    Args:
        plan: of the model.
        config: says how they are stored now.
        registry: the plugins.
    """
    now = plan_storage(plan, config.storage)
    offered = storages(registry)
    items: list[ChoiceItem] = []
    small: dict[str, tuple[int, ...]] = {}
    for name, tensor in plan.items():
        if tensor.dtype != "float":
            continue
        if len(tensor.shape) < 2 or math.prod(tensor.shape) < SMALL:
            small[name] = tensor.shape
            continue
        own = now[name].ref
        choices = [_choice(own, {name: tensor.shape})]
        choices += [_choice(ref, {name: tensor.shape}) for ref in _fitting(offered, [tensor.shape])]
        items.append(ChoiceItem(name, {name: tensor.shape}, _distinct(choices)))
    if small:
        kept = [now[name].ref for name in small]
        first = kept[0] if all(_same(ref, kept[0]) for ref in kept) else None
        refs = [ref for ref in _fitting(offered, list(small.values())) if _floating(ref)]
        choices = [_choice(first, small), *(_choice(ref, small) for ref in refs)]
        items.append(ChoiceItem(REST, small, _distinct(choices)))
    return items


def _same(one: StorageRef | None, other: StorageRef | None) -> bool:
    return shown(one) == shown(other)


def _floating(ref: StorageRef) -> bool:
    """Whether it keeps each number by itself, with at least 16 bits: what norms need."""
    storage = ref.create()
    return sum(part.bytes for part in storage.plan((1000,)).values()) >= 2000


def _fitting(offered: Sequence[StorageRef], shapes: Sequence[tuple[int, ...]]) -> list[StorageRef]:
    return [ref for ref in offered if all(ref.create().fits(shape) for shape in shapes)]


def _choice(ref: StorageRef | None, tensors: Mapping[str, tuple[int, ...]]) -> Choice:
    if ref is None:
        parts = {name: StoredTensor("F32", shape) for name, shape in tensors.items()}
    else:
        storage = ref.create()
        parts = {
            name + end: part
            for name, shape in tensors.items()
            for end, part in parts_of(ref, storage, shape).items()
        }
    # What a part adds to the header, with offsets as long as those of a file of 100 GB.
    header = sum(len(name.encode()) + 80 + 4 * len(part.shape) for name, part in parts.items())
    return Choice(ref, shown(ref), sum(part.bytes for part in parts.values()) + header)


def _distinct(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Each once by its name; float32 under either of its names."""
    found: dict[tuple[str, int], Choice] = {}
    for choice in choices:
        found.setdefault((choice.name, 0), choice)
    return tuple(found.values())


def needed(items: Sequence[ChoiceItem], limit: int) -> list[ChoiceItem]:
    """The items without learned storages, and those of under 4 bits a number, if none is needed.

    They take long or lose much, so they are for limits that nothing else meets.
    """
    plain = [
        ChoiceItem(item.name, item.tensors, tuple(
            choice for number, choice in enumerate(item.choices)
            if number == 0 or (not choice.learned
            and 8 * choice.bytes / max(1, item.numbers) >= _FEW_BITS)
        ))
        for item in items
    ]  # fmt: skip
    least = sum(min(choice.bytes for choice in item.choices) for item in plain)
    return plain if least <= limit else list(items)


def fixed_bytes(plan: Plan) -> int:
    """Bytes of what no choice changes: integers and truth values, and the header's own."""
    parts = {
        name: StoredTensor("I64" if tensor.dtype == "int64" else "BOOL", tensor.shape)
        for name, tensor in plan.items()
        if tensor.dtype != "float"
    }
    return sum(part.bytes for part in parts.values()) + header_bytes(parts) + 16


def with_choices(
    config: EngineConfig,
    plan: Plan,
    items: Sequence[ChoiceItem],
    chosen: Sequence[int],
    registry: Registry,
) -> EngineConfig:
    """The config in which every tensor is stored as chosen.

    The storage of most tensors becomes the default, that of the small ones ``keep_as``, and the
    others get a rule each.
    """
    wanted: dict[str, Choice] = {}
    rest: Choice | None = None
    for item, number in zip(items, chosen, strict=True):
        choice = item.choices[number]
        wanted |= dict.fromkeys(item.tensors, choice)
        if item.name == REST:
            rest = choice
    large = [
        item.choices[number]
        for item, number in zip(items, chosen, strict=True)
        if item.name != REST
    ]
    counts = Counter(choice.name for choice in large)
    default = next((c for name, _ in counts.most_common(1) for c in large if c.name == name), rest)
    document = config.model_dump(mode="json", by_alias=True, round_trip=True)
    section: dict[str, Any] = {
        "default": None if default is None else default.to_config(),
        "keep_as": None if rest is None else rest.to_config(),
        "keep": [],
        "rules": [],
    }
    document["storage"] = section
    # What a default that holds any shape would take is named, so that it stays as it was chosen.
    trial = plan_storage(plan, validated(document, registry).storage)
    section["rules"] = [
        {"match": _exactly(name), **_use(choice, registry)}
        for name, choice in wanted.items()
        if shown(trial[name].ref) != choice.name
    ]
    made = validated(document, registry)
    found = plan_storage(plan, made.storage)
    wrong = [name for name, choice in wanted.items() if shown(found[name].ref) != choice.name
             and not (choice.ref is None and found[name].name == "float32")]  # fmt: skip
    if wrong:
        raise EngineError(f"{wrong[0]} would be stored as {found[wrong[0]].name}")
    return made


def _use(choice: Choice, registry: Registry) -> dict[str, Any]:
    own = choice.to_config()
    if own is not None:
        return own
    lossless = [
        name for name in sorted(registry.names("storage"))
        if registry.get("storage", name).load().lossless
    ]  # fmt: skip
    if not lossless:
        raise EngineError("no installed storage keeps float32 numbers as they are")
    return {"use": lossless[0]}


def _exactly(name: str) -> str:
    """A pattern that this name alone matches."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)

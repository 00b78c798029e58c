"""What a program stored beside weights, held against what a plugin computes. Imports no torch.

A checkpoint's tensors say how wide a model is and how many layers it has. They do not say its
number of attention heads, its activation, the epsilon of its norms, where it pools, or whether its
texts are put into lower case: those stand in files beside them (``config.json``,
``open_clip_config.json``, ``tokenizer_config.json``). Engine reads these files, and hands each one,
as a :class:`Description`, to the tower or tokenizer that takes the weights. That says which
settings it computes in another way: its tables list a key of the program, its own value, and what
the program takes where the key is absent::

    class MyEncoder(TextEncoder):
        described: ClassVar = (
            Table("transformers", ("bert",), (
                Fact("num_attention_heads", lambda tower: tower.settings.heads, "heads", 12),
                Fact("layer_norm_eps", lambda tower: 1e-12, default=1e-12),
            )),
        )

A :class:`Difference` that changes what is computed is refused. Others become warnings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NOTHING = ""
"""The ``program`` of a description that stands for the absence of one."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""The default of a :class:`Fact` whose key, where it is absent, says nothing."""


@dataclass(frozen=True)
class TextEnd:
    """How the config's tokenizer ends a text.

    Attributes:
        mark: the id that ends every text and stands nowhere else in one; ``None``: there is none.
        largest: whether that is the largest id that the tokenizer gives.
    """

    mark: int | None
    largest: bool


@dataclass(frozen=True)
class Description:
    """What one file, or one section of it, says of one tower or tokenizer.

    Attributes:
        program: whose words these are: ``"transformers"``, ``"open_clip"``, ``"timm"``,
            ``"ruclip"``, ``"openai"``, ``"sentence_transformers"``, ``"tokenizers"``; ``"engine"``
            for an artifact's own config; :data:`NOTHING` where nothing lies beside the weights.
        kind: the program's name of the architecture (transformers' ``model_type``, the class of a
            tokenizer, ...); ``None`` where it is not given.
        place: where it stands, for messages: a file, and a section of it.
        values: the keys of the file with their JSON values.
        defaults: whether an absent key means the program's default; otherwise it says nothing.
        aside: a description of a detail: who has no table for its program passes it over.
        end: how the config's tokenizer ends a text; ``None`` where that is not known.
        model: what the file says of the whole model, where the description is of one of its towers.
    """

    program: str
    kind: str | None
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    defaults: bool = True
    aside: bool = False
    end: TextEnd | None = None
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One thing that a description says and the plugin does not do.

    Attributes:
        message: both values and both places, a clause without a full stop.
        refuse: whether it changes what the weights compute; otherwise the user is only warned.
    """

    message: str
    refuse: bool = True


Same = Callable[[Any, Any], bool]


def equal(theirs: Any, ours: Any) -> bool:
    """Equal values; numbers up to the rounding of their decimal form; lists and tuples alike."""
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return theirs is ours
    if isinstance(theirs, (int, float)) and isinstance(ours, (int, float)):
        return math.isclose(theirs, ours, rel_tol=1e-6)
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        return len(theirs) == len(ours) and all(map(equal, theirs, ours))
    return bool(theirs == ours)


_ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu",
    "gelu_new": "gelu_tanh", "gelu_tanh": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh",
    "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu",
    "silu": "silu", "swish": "silu",
}  # fmt: skip


def same_activation(theirs: Any, ours: Any) -> bool:
    """Two names of one function: the tanh form of GELU has six, for example."""
    theirs, ours = (_ACTIVATIONS.get(name, name) if isinstance(name, str) else name
                    for name in (theirs, ours))  # fmt: skip
    return bool(theirs == ours)


def same_square(theirs: Any, ours: Any) -> bool:
    """A side, or a pair of sides ``[224, 224]``."""
    pair = isinstance(theirs, (list, tuple)) and len(theirs) == 2
    return all(equal(side, ours) for side in theirs) if pair else equal(theirs, ours)


def same_token(theirs: Any, ours: Any) -> bool:
    """A token by its text, or as the mapping that transformers writes (``{"content": ...}``)."""
    return bool((theirs.get("content") if isinstance(theirs, Mapping) else theirs) == ours)


@dataclass(frozen=True)
class Fact:
    """One key of a program, and what a plugin does in its place.

    Attributes:
        key: the program's key; ``"a.b"`` is ``b`` inside of ``a``.
        ours: the plugin's own value, given the plugin (or a value that the program would write).
        setting: the setting that it follows from; empty where the plugin has no choice there.
        default: what the program takes where the key is absent; :data:`ABSENT`: that is not known.
        same: compares the program's value with ours.
        also: other spellings of the key, which count where the first is absent.
        refuse: whether a difference changes what is computed; otherwise it is a warning.
        note: what to know of a difference, behind both values.
    """

    key: str
    ours: Callable[[Any], Any]
    setting: str = ""
    default: Any = ABSENT
    same: Same = equal
    also: tuple[str, ...] = ()
    refuse: bool = True
    note: str = ""


@dataclass(frozen=True)
class Table:
    """What a plugin does in the place of each key of a program's architecture.

    Attributes:
        program: see :attr:`Description.program`.
        kinds: the architectures that the plugin computes; empty: whatever the program calls it.
        facts: the keys that change what is computed.
        ignored: keys that sound as if they did, and do not (beginnings of names).
        strict: refuse keys that sound as if they did, and that are not among the facts.
    """

    program: str
    kinds: tuple[str, ...]
    facts: tuple[Fact, ...]
    ignored: tuple[str, ...] = ()
    strict: bool = True


_SUSPECT = re.compile(
    r"rope|rotary|alibi|relative_|sliding|attention_type|attn_type|is_decoder|cross_attention"
    r"|causal|attn_scale|scale_attn|attention_scale|scale_heads|scale_fc|scaled_cos|softcap|qk_|qkv_"
    r"|layer_?scale|ls_init|norm_type|norm_first|norm_before|pre_?norm|post_?norm|norm_eps|_eps$"
    r"|epsilon|activation|_act$|^act_|act_fn|act_layer|norm_layer|position_embedding_type|position_encoding|pos_embed|pool"
    r"|quantization|adapter|lora_|embedding_scale|scale_embedding|embed_scale|moe|experts|_glu"
    r"|swiglu|auto_map|register_tokens|reg_tokens|block_type|proj_type|head_type|parallel_attn|use_mean",
    re.IGNORECASE,
)
"""Keys that change what a model computes, in some program; none that a tower does not know passes
silently."""


def compare(plugin: object, tables: Sequence[Table], description: Description) -> list[Difference]:
    """What a description says and the plugin does not do, by the plugin's tables.

    Args:
        plugin: a tower or a tokenizer; the facts' ``ours`` receive it.
        tables: its tables.
        description: what lies beside its weights.
    """
    name = type(plugin).__name__
    own = [table for table in tables if table.program == description.program]
    if not own:
        if description.aside or description.program == NOTHING:
            return []
        return [_not_compared(name, tables, description)]
    kind = description.kind
    fitting = [t for t in own if kind is None or not t.kinds or kind in t.kinds]
    if not fitting:
        known = " or ".join(f"`{k}`" for table in own for k in table.kinds)
        return [
            Difference(
                f"{description.place} describes a `{str(kind)[:60]}`; {name} computes {known}"
            )
        ]
    table = fitting[0]
    found = [
        difference
        for fact in table.facts
        if (difference := _difference(plugin, fact, description)) is not None
    ]
    return found + (_unknown(name, table, description) if table.strict else [])


def _not_compared(name: str, tables: Sequence[Table], description: Description) -> Difference:
    what = f"{description.place} ({description.program})"
    if tables and description.program != "unknown":
        known = ", ".join(sorted({table.program for table in tables}))
        return Difference(f"{what} is not of a program that {name} takes weights of ({known})")
    return Difference(
        f"{what} was not compared with the config: {name} does not know its settings", refuse=False
    )


def _difference(plugin: object, fact: Fact, description: Description) -> Difference | None:
    theirs, stated = _value(fact, description)
    if theirs is ABSENT:
        return None
    ours = fact.ours(plugin)
    if fact.same(theirs, ours):
        return None
    where = f"in {description.place}"
    if not stated:
        where = f"by the default of {description.program} ({description.place} does not say)"
    own = f"{type(plugin).__name__} always computes with {shown(ours)}"
    if fact.setting:
        own = f"it is {shown(ours)} by `{fact.setting}` of the config"
    note = f" ({fact.note})" if fact.note else ""
    return Difference(f"`{fact.key}` is {shown(theirs)} {where}; {own}{note}", fact.refuse)


def _value(fact: Fact, description: Description) -> tuple[Any, bool]:
    """The program's value, and whether the file states it."""
    for key in (fact.key, *fact.also):
        found: Any = description.values
        for part in key.split("."):
            found = found.get(part, ABSENT) if isinstance(found, Mapping) else ABSENT
        if found is not ABSENT:
            return found, True
    return (fact.default if description.defaults else ABSENT), False


def _unknown(name: str, table: Table, description: Description) -> list[Difference]:
    """Keys that sound as if they changed what is computed, and that no fact is about."""
    known = {part for fact in table.facts for key in (fact.key, *fact.also)
             for part in (key, key.partition(".")[0])}  # fmt: skip
    return [
        Difference(f"`{shown(key)[1:-1]}` is {shown(value)} in {description.place}; {name} does not"
                   " know that setting")
        for key, value in description.values.items()
        if value and key not in known and not key.startswith(table.ignored or ("\0",))
        and _SUSPECT.search(key)
    ]  # fmt: skip


def shown(value: Any) -> str:
    """A value from a file as it stands there: one line, at most 80 characters."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""Settings: what a config may say to a plugin. Nothing here imports torch.

Every plugin has one settings class, a pydantic model derived from :class:`Settings` (or from one of
the bases below, which its kind asks for). Unknown keys are refused. A setting that is itself a
plugin is typed with one of the ``PluginRef...`` names::

    class ClusteredSettings(Settings):
        \"\"\"K projections and a router that chooses one for each text.\"\"\"

        of: ProjectionRef = {"use": "residual"}   # validated like anything a user writes
        count: int = Field(10, ge=2, description="number of clusters, K")

After validation ``settings.of`` is a :class:`PluginRef`: ``settings.of.create(...)`` builds the
plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from engine.contracts.deprecation import warn_once
from engine.contracts.limits import MAX_INTEGER, MAX_TOKENS, MAX_VOCABULARY
from engine.contracts.plan import Plan, TowerPlan
from engine.errors import EngineError, PluginError

KINDS: dict[str, str] = {
    "text_encoder": "turns token ids into features (a tower)",
    "vision_tower": "turns pixels into features (a tower)",
    "projection": "takes a tower's features into the joint space",
    "tokenizer": "turns texts into token ids",
    "embedder": "turns texts into vectors for clustering",
    "clusterer": "finds clusters among vectors, and the cluster of a new one",
    "dataset": "images with queries, or with classes",
    "checkpoint_adapter": "reads checkpoints of another program by the names of their tensors",
    "loss": "what training makes small",
    "sampler": "chooses the rows of every training batch",
    "logger": "receives what training measures",
}
"""The kinds of plugin, each with what it does."""


class Settings(BaseModel):
    """Base of every plugin's settings: immutable, unknown keys refused, defaults validated."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        populate_by_name=True,
        ser_json_inf_nan="constants",  # YAML has them, and a resolved config keeps them
    )

    @field_validator("*", mode="after")
    @classmethod
    def _within_64_bits(cls, value: Any) -> Any:
        # A field without an upper limit of its own: numpy, torch and file formats end at int64.
        if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise ValueError(
                f"expected a whole number of at most 64 bits, got {len(str(abs(value)))} digits"
            )
        return value


BUILT_IN = "engine-towers"
"""The distribution whose plugins are the built-in ones."""


class BuiltIn(str):
    """A plugin's name in a default that Engine itself gives.

    Where an installed package offers a plugin of the same name, a default still means the built-in
    one; a name that a user writes has to be qualified then.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return core_schema.str_schema()  # how a JSON schema shows it


class PluginLike(Protocol):
    """What :class:`PluginRef` needs of a registered plugin, ``engine.contracts.hooks.Plugin``."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    def load(self) -> type[Any]: ...

    def load_settings(self) -> type[Settings]: ...


class Lookup(Protocol):
    """What validation needs of the registry: it raises PluginError for an unknown name."""

    def get(self, kind: str, name: str) -> PluginLike: ...


class PluginRef:
    """A plugin chosen in a config, with its validated settings.

    Attributes:
        kind: the plugin's kind, for example ``"projection"``.
        name: the registered name that ``use:`` gave; ``distribution:name`` where two packages offer
            plugins of one name.
        settings: an instance of the plugin's settings class.
    """

    __slots__ = ("kind", "name", "plugin", "settings")

    def __init__(self, plugin: PluginLike, settings: Settings, name: str | None = None) -> None:
        self.kind, self.name = plugin.kind, name or plugin.name
        self.plugin, self.settings = plugin, settings

    def create(self, *args: Any, **kwargs: Any) -> Any:
        """Import the plugin's class and call it: ``Class(settings, *args, **kwargs)``.

        Raises:
            PluginError: its code does not import.
        """
        return self.plugin.load()(self.settings, *args, **kwargs)

    def target(self) -> type[Any]:
        """Import and return the plugin's class."""
        return self.plugin.load()

    def to_config(self) -> dict[str, Any]:
        """Return the mapping a config would hold, every default filled in (JSON types only)."""
        settings = self.settings.model_dump(mode="json", by_alias=True, round_trip=True)
        return {"use": self.name, **settings}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PluginRef) and (self.kind, self.to_config()) == (
            other.kind,
            other.to_config(),
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __repr__(self) -> str:
        return f"PluginRef({self.kind} {self.name}, {self.settings!r})"


def _look_up(registry: Lookup, kind: str, name: str) -> tuple[str, PluginLike]:
    if not isinstance(name, BuiltIn):
        return name, registry.get(kind, name)
    try:
        return str(name), registry.get(kind, str(name))
    except PluginError:  # offered by several packages, where a qualified name may help
        qualified = f"{BUILT_IN}:{name}"
        return qualified, registry.get(kind, qualified)


class PluginField:
    """Makes a field a plugin of ``kind``: ``Annotated[PluginRef, PluginField("dataset")]``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def _validate(self, value: Any, info: ValidationInfo) -> PluginRef:
        if isinstance(value, PluginRef):
            return value
        if isinstance(value, str):  # `text: gpt3small` is short for `text: {use: gpt3small}`
            value = {"use": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "use_mapping",
                "expected a mapping `{use: NAME, ...}` that names a {kind}",
                {"kind": self.kind},
            )
        if "use" not in value:
            raise PydanticCustomError(
                "use_missing",
                "`use:` is missing: it names the {kind} (`engine plugins {kind}` lists them)",
                {"kind": self.kind},
            )
        registry = (info.context or {}).get("registry")
        if registry is None:
            raise PluginError(
                f"settings name a {self.kind}, and there is no registry to find it in",
                hint="validate with Settings.model_validate(values, context={'registry': ...})",
            )
        name, plugin, settings_type = self._find(registry, value["use"])
        rest = {key: item for key, item in value.items() if key != "use"}
        return PluginRef(plugin, self._settings(settings_type, rest, info, plugin), name)

    def _find(self, registry: Lookup, name: object) -> tuple[str, PluginLike, type[Settings]]:
        """The name by which the plugin is found again, the plugin, and its settings class."""
        # Errors of their own type, so that the loader can point at `use:` itself.
        if not isinstance(name, str):
            raise PydanticCustomError(
                "use_unknown", "expected the name of a {kind}", {"kind": self.kind}
            )
        try:
            name, plugin = _look_up(registry, self.kind, name)
            if instead := getattr(plugin, "deprecated", ""):
                warn_once(f"{self.kind} `{name}`", instead)
            return name, plugin, plugin.load_settings()
        except PluginError as error:
            raise PydanticCustomError("use_unknown", "{reason}", {"reason": str(error)}) from None

    def _settings(
        self, type_: type[Settings], values: object, info: ValidationInfo, plugin: PluginLike
    ) -> Settings:
        try:
            # Its errors keep their places: pydantic puts the way to this field before them.
            found = type_.model_validate(values, context=info.context)
            for name in sorted(found.model_fields_set):
                if instead := type_.model_fields[name].deprecation_message:
                    warn_once(f"the setting `{name}` of {self.kind} `{plugin.name}`", instead)
            return found
        except ValidationError:
            raise
        except EngineError as error:
            raise PydanticCustomError("plugin", "{reason}", {"reason": str(error)}) from error
        except Exception as error:  # a plugin's validators may raise anything
            reason = f"{self.kind} `{plugin.name}` failed on these settings, a fault of its own: "
            reason += f"{type(error).__name__}: {error}"
            raise PydanticCustomError("plugin", "{reason}", {"reason": reason}) from error

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(PluginRef.to_config),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # `engine schema` replaces this mark by a choice among the installed plugins of the kind.
        return {"x-engine-kind": self.kind}


TextEncoderRef = Annotated[PluginRef, PluginField("text_encoder")]
VisionTowerRef = Annotated[PluginRef, PluginField("vision_tower")]
ProjectionRef = Annotated[PluginRef, PluginField("projection")]
TokenizerRef = Annotated[PluginRef, PluginField("tokenizer")]
EmbedderRef = Annotated[PluginRef, PluginField("embedder")]
ClustererRef = Annotated[PluginRef, PluginField("clusterer")]
DatasetRef = Annotated[PluginRef, PluginField("dataset")]


_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def parse_bytes(value: object) -> object:
    """``"1 GB"``, ``"300MB"``, ``"1.5GiB"`` or a whole number -> bytes. kB is 1000, KiB is 1024.

    Raises:
        ValueError: the text is no size, or not a whole number of bytes.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError("expected a size such as `300MB`, `1 GB` (10^9) or `1GiB` (2^30)")
    size = Fraction(match[1]) * _UNITS[match[2].upper()]
    if size.denominator != 1:
        raise ValueError(f"`{value.strip()}` is no whole number of bytes")
    return int(size)


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(([kKmMgGtT][iI]?)?[bB])?\s*$"},
            ]
        }
    ),
]
"""A number of bytes; a config may write it with a unit."""

_FROM = re.compile(r"scratch|(hf|open_clip|file|artifact):\S.*")


def _check_source(value: object) -> object:
    if isinstance(value, str) and not _FROM.fullmatch(value):
        raise ValueError(
            "expected `hf:<repository>`, `open_clip:<arch>/<tag>`, `file:<path>`,"
            " `artifact:<folder>` or `scratch`"
        )
    return value


SourceName = Annotated[
    str,
    BeforeValidator(_check_source),
    WithJsonSchema({"type": "string", "pattern": f"^({_FROM.pattern})$"}),
]
"""Where weights (or a vocabulary) come from, as a config writes it."""


class WeightsSettings(Settings):
    """Where a part's weights come from, and what to do when they cannot be reached."""

    from_: SourceName = Field(
        "scratch",
        alias="from",
        description="hf:<repository>, open_clip:<arch>/<tag>, file:<path>, artifact:<folder>"
        " or scratch",
    )
    otherwise: Literal["scratch"] | None = Field(
        None,
        description="`scratch`: where the source cannot be reached, start from random weights,"
        " say so loudly, and record it in the artifact",
    )


class TowerSettings(Settings):
    """Base of the settings of both kinds of tower."""

    preferred_files: ClassVar[tuple[str, ...]] = ()
    """Names of files of weights that this tower takes where a source has several; after them come
    the usual ones (``model.safetensors``, ``pytorch_model.bin``)."""

    weights: WeightsSettings = WeightsSettings()

    def plan(self) -> TowerPlan | None:
        """The tower's tensors and widths, where they follow from the settings (see ``plan.py``)."""
        return None


class TextEncoderSettings(TowerSettings):
    """Base of every text encoder's settings."""

    tokenizer: TokenizerRef
    vocab_size: int = Field(
        ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks of beginning and end included",
    )


class VisionTowerSettings(TowerSettings):
    """Base of every vision tower's settings."""


class ProjectionSettings(Settings):
    """Base of every projection's settings."""

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan | None:
        """The projection's tensors, where they follow from settings and widths."""
        return None

    def cluster_count(self) -> int | None:
        """Of how many clusters its router chooses; ``None`` where it has none."""
        return None


class TokenizerSettings(Settings):
    """Base of every tokenizer's settings."""

    from_: SourceName = Field(
        "scratch",
        alias="from",
        description="where the vocabulary comes from; scratch: trained on the config's own queries",
    )
    otherwise: Literal["scratch"] | None = Field(
        None,
        description="`scratch`: where the vocabulary cannot be reached, train one on the queries of"
        " data.train",
    )


class DatasetSettings(Settings):
    """Base of every dataset's settings."""


class EmbedderSettings(Settings):
    """Base of every embedder's settings."""

    otherwise: EmbedderRef | None = Field(
        None,
        description="the embedder to use where this one's model cannot be reached: said loudly, and"
        " recorded in the artifact",
    )


class ClustererSettings(Settings):
    """Base of every clusterer's settings."""

    count: Annotated[int, Field(ge=2, le=10_000)] | Literal["auto"] = Field(
        10, description="number of clusters, K; auto: the best by a score, from `least` to `most`"
    )
    least: int = Field(2, ge=2, le=10_000, description="fewest clusters that `auto` tries")
    most: int = Field(30, ge=2, le=10_000, description="most clusters that `auto` tries")

    @model_validator(mode="after")
    def _least_to_most(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"`least` ({self.least}) is more than `most` ({self.most})")
        return self

    def cluster_count(self) -> int | None:
        """K where it is given; ``None`` where it is to be chosen."""
        return None if self.count == "auto" else self.count

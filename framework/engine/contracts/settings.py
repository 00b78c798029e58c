"""Settings: what a config may say to a plugin. Nothing here imports torch.

Every plugin has one settings class, a pydantic model derived from the base that its kind asks for
(``engine.contracts.kinds``), at the least from :class:`Settings`. Unknown keys are refused. A
setting that is itself a plugin is typed with one of the names of ``engine.contracts.refs``::

    class ClusteredSettings(ProjectionSettings):
        \"\"\"K projections and a router that chooses one for each text.\"\"\"

        of: ProjectionRef = {"use": "residual"}   # validated like anything a user writes
        count: int = Field(10, ge=2, description="number of clusters, K")

After validation ``settings.of`` is a :class:`PluginRef`: ``settings.of.settings`` are its settings,
and ``settings.of.create(...)`` builds the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypeVar

from engine.contracts.deprecation import warn_once
from engine.contracts.limits import MAX_INTEGER
from engine.errors import EngineError, PluginError


class Settings(BaseModel):
    """Base of every plugin's settings: immutable, unknown keys refused, defaults validated."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        populate_by_name=True,
        ser_json_inf_nan="constants",  # YAML has them, and a resolved config keeps them
        defer_build=True,  # of the classes that a command imports it uses few
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


class KindDefault(str):
    """A default that the registry decides: see :data:`KIND_DEFAULT`."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return core_schema.str_schema()  # how a JSON schema shows it


KIND_DEFAULT: Final = KindDefault("the default of its kind")
"""Default of a setting that is a plugin: the one that is registered with ``default=True``.

Engine's own schemas use it, because Engine knows no plugin by name. A plugin's settings rather name
a plugin of their own package or a built-in one."""


class PluginLike(Protocol):
    """What :class:`PluginRef` needs of a registered plugin, ``engine.contracts.hooks.Plugin``."""

    @property
    def kind(self) -> str:
        """One of the kinds of ``engine.contracts.kinds``."""

    @property
    def name(self) -> str:
        """The name that a config writes after ``use:``."""

    def load(self) -> type[Any]:
        """Import the plugin's class."""

    def load_settings(self) -> type[Settings]:
        """Import the class of its settings, without the plugin's own imports."""


class Lookup(Protocol):
    """What validation needs of the registry: it raises PluginError for an unknown name."""

    def get(self, kind: str, name: str) -> PluginLike:
        """The plugin of a kind and a name; raises PluginError where there is none."""

    def default(self, kind: str) -> str:
        """Name of the plugin that a config gets without naming one."""


S_co = TypeVar("S_co", bound=Settings, covariant=True, default=Settings)
T_co = TypeVar("T_co", covariant=True, default=Any)


class PluginRef(Generic[S_co, T_co]):
    """A plugin chosen in a config, with its validated settings.

    ``PluginRef[S, T]`` has settings of class ``S`` and creates an instance of ``T``; a bare
    ``PluginRef`` may be of any kind.

    Attributes:
        kind: the plugin's kind, for example ``"projection"``.
        name: the registered name that ``use:`` gave; ``distribution:name`` where two packages offer
            plugins of one name.
        plugin: the registered plugin.
        settings: an instance of the plugin's settings class.
    """

    __slots__ = ("kind", "name", "plugin", "settings")

    def __class_getitem__(cls, parameters: object) -> type[Self]:
        # Type checkers alone read the parameters. At run time they are left out, because a
        # contract that is named as a string would be imported, with torch, to evaluate it.
        return cls

    def __init__(self, plugin: PluginLike, settings: S_co, name: str | None = None) -> None:
        self.kind, self.name = plugin.kind, name or plugin.name
        self.plugin, self.settings = plugin, settings

    def create(self, *args: Any, **kwargs: Any) -> T_co:
        """Import the plugin's class and call it: ``Class(settings, *args, **kwargs)``.

        Raises:
            PluginError: its code does not import.
        """
        made: T_co = self.plugin.load()(self.settings, *args, **kwargs)
        return made

    def target(self) -> type[T_co]:
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


class PluginField:
    """Makes a field a plugin of ``kind``: ``Annotated[PluginRef, PluginField("dataset")]``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def _validate(self, value: Any, info: ValidationInfo) -> PluginRef:
        if isinstance(value, PluginRef):
            if value.kind != self.kind:
                raise PydanticCustomError(
                    "use_mapping",
                    "expected a {kind}, got the {other} `{name}`",
                    {"kind": self.kind, "other": value.kind, "name": value.name},
                )
            return value
        registry = (info.context or {}).get("registry")
        if isinstance(value, KindDefault) and registry is not None:
            value = self._default(registry)
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
        if registry is None:
            raise PluginError(
                f"settings name a {self.kind}, and there is no registry to find it in",
                hint="validate with Settings.model_validate(values, context={'registry': ...})",
            )
        name, plugin, settings_type = self._find(registry, value["use"])
        rest = {key: item for key, item in value.items() if key != "use"}
        return PluginRef(plugin, self._settings(settings_type, rest, info, plugin), name)

    def _default(self, registry: Lookup) -> str:
        try:
            return registry.default(self.kind)
        except PluginError as error:
            raise PydanticCustomError("use_unknown", "{reason}", {"reason": str(error)}) from None

    def _find(self, registry: Lookup, name: object) -> tuple[str, PluginLike, type[Settings]]:
        """The name by which the plugin is found again, the plugin, and its settings class."""
        # Errors of their own type, so that the loader can point at `use:` itself.
        if not isinstance(name, str):
            raise PydanticCustomError(
                "use_unknown", "expected the name of a {kind}", {"kind": self.kind}
            )
        try:
            plugin = registry.get(self.kind, name)
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

"""The registry: what comes in, what is broken, what is said of a name that is not there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from engine.contracts import LossSettings
from engine.contracts.hooks import API_VERSION, Plugin, hookimpl
from engine.contracts.settings import KIND_DEFAULT, PluginField, PluginRef, Settings
from engine.core.registry import Registry, default_registry
from engine.core.signals import ending_in_order
from engine.data.formats import CLICK_LOG, ZERO_SHOT
from engine.errors import PluginError


def offering(*plugins: Any) -> ModuleType:
    """A module that registers these."""
    module = ModuleType("offering")
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    module.engine_plugins = hookimpl(lambda: list(plugins))  # type: ignore[attr-defined]
    return module


def point(name: str, load: Callable[[], object], version: str = "1.0") -> Any:
    """An entry point of the package ``name``."""
    dist = SimpleNamespace(name=name, version=version)
    return SimpleNamespace(name=name, value=f"{name}_module", dist=dist, load=load)


def plugin(kind: str, name: str) -> Plugin:
    return Plugin(kind, name, "nowhere:Class")


def raising(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


def test_plugins_are_sorted_and_know_their_distribution() -> None:
    registry = Registry(
        [
            point("late", lambda: offering(plugin("dataset", "b"), plugin("text_encoder", "z"))),
            point("early", lambda: offering(plugin("dataset", "a")), version="2.1"),
        ]
    )
    rows = [(r.plugin.kind, r.plugin.name, str(r.distribution)) for r in registry.all()]
    assert rows == [
        ("text_encoder", "z", "late 1.0"), ("dataset", "a", "early 2.1"),
        ("dataset", "b", "late 1.0"),
    ]  # fmt: skip
    assert registry.names("dataset") == ["a", "b"]
    assert registry.get("dataset", "b").name == "b"
    assert [r.plugin.name for r in registry.all("dataset")] == ["a", "b"]
    assert not registry.broken
    assert not registry.clashes()


def test_two_plugins_of_one_name_name_both_distributions() -> None:
    registry = Registry(
        [
            point("one", lambda: offering(plugin("dataset", "a"), plugin("dataset", "b"))),
            point("other", lambda: offering(plugin("dataset", "a")), version="3"),
        ]
    )
    with pytest.raises(PluginError, match="dataset `a` is offered by 2 plugins") as error:
        registry.get("dataset", "a")
    assert "one 1.0 and other 3" in str(error.value)
    assert registry.get("dataset", "b").name == "b"
    assert [[str(r.distribution) for r in many] for many in registry.clashes()] == [
        ["one 1.0", "other 3"]
    ]


CLASHING = ["contrastive", "shuffled", "console"]


def clashing(*names: str) -> Registry:
    """A registry in which a third party reuses names of built-in plugins."""
    theirs = offering(*(Plugin("loss", name, "theirs:Class") for name in names))
    ours = offering(*(Plugin("loss", name, "ours:Class") for name in [*CLASHING, "alone"]))
    return Registry([point("their_Package", lambda: theirs), point("engine-towers", lambda: ours)])


@pytest.mark.parametrize("name", CLASHING)
@pytest.mark.parametrize("owner", ["their_Package", "their-package", "Their.Package"])
def test_a_qualified_name_selects_either(name: str, owner: str) -> None:
    registry = clashing(*CLASHING)
    assert registry.get("loss", f"{owner}:{name}").target == "theirs:Class"
    assert registry.get("loss", f"engine-towers:{name}").target == "ours:Class"
    with pytest.raises(PluginError) as error:
        registry.get("loss", name)
    assert f"`their_Package:{name}` or `engine-towers:{name}`" in str(error.value)
    assert registry.get("loss", "alone").target == "ours:Class"


class Holder(Settings):
    """A setting whose default the registry decides."""

    loss: Annotated[PluginRef, PluginField("loss")] = KIND_DEFAULT  # type: ignore[assignment]


def ours(*plugins: Plugin) -> Any:
    return point("engine-towers", lambda: offering(*plugins))


def chosen(name: str, kind: str = "loss") -> Plugin:
    """A plugin that says that it is the default of its kind."""
    return Plugin(kind, name, "x:Class", default=True)


@pytest.mark.parametrize(
    ("points", "name"),
    [
        ([ours(chosen("a"), plugin("loss", "b"))], "a"),
        # A third party's plugin of the same name, or one that wants to be the default as well.
        ([ours(chosen("a")), point("other", lambda: offering(plugin("loss", "a")))],
         "engine-towers:a"),
        ([ours(chosen("a")), point("other", lambda: offering(chosen("b")))], "a"),
        ([ours(), point("other", lambda: offering(chosen("b")))], "b"),
    ],
)  # fmt: skip
def test_the_default_of_a_kind(points: list[Any], name: str) -> None:
    registry = Registry(points)
    assert registry.default("loss") == name
    found = Holder.model_validate({}, context={"registry": registry}).loss
    assert found.plugin.load_settings() is LossSettings
    assert found.to_config() == {"use": name, "weight": 1.0}
    again = Holder.model_validate({"loss": found.to_config()}, context={"registry": registry}).loss
    assert again == found


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([], "no default loss: none of the installed plugins says"),
        ([ours(plugin("loss", "a"), chosen("b", "sampler"))], "none of the installed plugins"),
        ([point("one", lambda: offering(chosen("a"))), point("two", lambda: offering(chosen("b")))],
         "more than one default loss: `one:a` and `two:b` both say"),
    ],
)  # fmt: skip
def test_a_kind_without_one_default(points: list[Any], words: str) -> None:
    registry = Registry(points)
    with pytest.raises(PluginError, match=words):
        registry.default("loss")
    with pytest.raises(ValidationError, match=words):
        Holder.model_validate({}, context={"registry": registry})


def test_the_reader_of_a_format() -> None:
    def reading(name: str, *formats: str) -> Plugin:
        return Plugin("dataset", name, "x:Class", reads=formats)

    theirs = point("other", lambda: offering(reading("theirs", "csv"), reading("more", "tar")))
    registry = Registry([ours(reading("own", "csv", "json")), theirs])
    assert [registry.reader(one) for one in ("csv", "json", "tar")] == ["own", "own", "more"]
    with pytest.raises(PluginError, match="no dataset that reads png: none of the installed"):
        registry.reader("png")
    for name in (CLICK_LOG, ZERO_SHOT):
        assert default_registry().get("dataset", default_registry().reader(name)).reads == (name,)


def test_what_a_user_writes_has_to_be_qualified_where_names_clash() -> None:
    with pytest.raises(ValidationError, match="offered by 2 plugins"):
        Holder.model_validate(
            {"loss": "contrastive"}, context={"registry": clashing("contrastive")}
        )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody:contrastive", "`contrastive` comes from `their_Package`, `engine-towers`"),
        ("their_Package:alone", "`alone` comes from `engine-towers`"),
        ("engine-towers:contrastiv", "unknown loss `engine-towers:contrastiv`"),
        (":contrastive", "offered by 2"),
    ],
)
def test_qualified_names_that_are_not_there(name: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        clashing("contrastive").get("loss", name)


def test_one_name_in_two_kinds_is_no_clash() -> None:
    both = offering(plugin("text_encoder", "clip"), plugin("vision_tower", "clip"))
    registry = Registry([point("one", lambda: both)])
    assert registry.get("vision_tower", "clip").kind == "vision_tower"
    assert not registry.clashes()


def misspelt() -> ModuleType:
    module = ModuleType("misspelt")
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    module.engine_plugin = hookimpl(lambda: [plugin("dataset", "a")])  # type: ignore[attr-defined]
    return module


def silent() -> ModuleType:
    module = ModuleType("empty")
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    return module


def failing() -> ModuleType:
    module = ModuleType("failing")
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    module.engine_plugins = hookimpl(lambda: 1 / 0)  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (raising(ImportError("no module named 'left_pad'")), "ImportError: no module named"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(RuntimeError("two\nlines")), "RuntimeError: two lines"),
        (misspelt, "unknown hook 'engine_plugin'"),
        (failing, "ZeroDivisionError"),
        (silent, "gives no plugins"),
        (lambda: offering(3), "gave 3, which is not a Plugin"),
        (lambda: offering(plugin("datset", "x")), "unknown kind"),
    ],
    ids=["import", "exit", "lines", "misspelt", "fails", "empty", "foreign", "kind"],
)
def test_a_broken_package_takes_no_other_down(load: Callable[[], object], words: str) -> None:
    def make() -> object:
        return load()

    registry = Registry(
        [point("bad", make), point("good", lambda: offering(plugin("dataset", "a")))]
    )
    assert registry.names("dataset") == ["a"]
    (broken,) = registry.broken
    assert words in broken.error
    assert "\n" not in broken.error
    assert str(broken.distribution) == "bad 1.0"
    assert broken.entry_point == "bad = bad_module"
    assert "Traceback" in broken.details


def signalled(number: int) -> Callable[[], object]:
    """A package during whose import a signal comes."""

    def load() -> object:
        os.kill(os.getpid(), number)
        return offering(plugin("dataset", "a"))

    return load


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (signal.SIGTERM, SystemExit, 143),
        (signal.SIGHUP, SystemExit, 129),
        (signal.SIGINT, KeyboardInterrupt, None),
    ],
)
def test_a_signal_during_an_import_ends_the_command(
    number: int, error: type[BaseException], code: int | None
) -> None:
    with pytest.raises(error) as stop, ending_in_order():
        Registry([point("slow", signalled(number))])
    assert getattr(stop.value, "code", None) == code


def test_what_is_said_of_a_name_that_is_not_there() -> None:
    registry = Registry(
        [point("one", lambda: offering(plugin("dataset", "shapes"), plugin("tokenizer", "words")))]
    )

    def said(kind: str, name: str) -> str:
        with pytest.raises(PluginError) as error:
            registry.get(kind, name)
        return str(error.value)

    assert said("dataset", "shpaes") == "unknown dataset `shpaes` (did you mean `shapes`?)"
    assert said("dataset", "words") == "unknown dataset `words` (there is a tokenizer of that name)"
    assert said("dataset", "zzz") == "unknown dataset `zzz` (installed: shapes)"
    assert said("embedder", "zzz") == "unknown embedder `zzz` (installed: none)"


def test_a_name_that_is_not_there_may_be_a_broken_packages() -> None:
    good = point("good", lambda: offering(plugin("dataset", "shapes")))
    registry = Registry([good, point("bad", raising(ImportError("no luck")))])
    with pytest.raises(PluginError, match=r"bad 1\.0 failed to load: ImportError: no luck"):
        registry.get("dataset", "shape")


def test_an_entry_point_without_a_distribution() -> None:
    lost = point("lost", lambda: offering(plugin("dataset", "a")))
    lost.dist = None
    assert Registry([lost]).all()[0].distribution.name == "unknown package"


def test_the_built_in_plugins_come_in_by_the_same_door() -> None:
    registry = default_registry()
    assert not registry.broken
    assert not registry.clashes()
    found = registry.registered("dataset", "shapes")
    assert found.distribution.name == "engine-towers"
    assert default_registry() is registry

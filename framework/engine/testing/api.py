"""The calls of the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from engine.contracts.hooks import Plugin
from engine.testing.check import Check
from engine.testing.report import Report
from engine.testing.subject import Given, Hints
from engine.testing.suites import rules_of, subject_of

F = TypeVar("F", bound=Callable[..., Any])


def checks(
    kind: str,
    plugin: str | Plugin,
    settings: Given = None,
    **hints: Unpack[Hints],
) -> list[Check]:
    """The checks of a plugin, in the order in which to mend what they find.

    Nothing is imported or built before one is called. A check has an ``id`` and is called without
    arguments.

    Args:
        kind: one of ``engine.contracts.KINDS``.
        plugin: the registered name, or the record itself where the package is not installed.
        settings: as a config writes them, without ``use``; make the plugin small. Or a function of
            an empty folder that writes the plugin's files there and returns them
            (see :data:`engine.testing.subject.Given`).
        **hints: see :class:`engine.testing.Hints`.

    Raises:
        TypeError: a hint that this kind does not have.
        PluginError: an unknown kind, or a record of another kind.
    """
    subject = subject_of(kind, plugin, settings, hints)
    return [Check(one, subject) for one in rules_of(kind)]


def check_plugin(
    kind: str,
    plugin: str | Plugin,
    settings: Given = None,
    **hints: Unpack[Hints],
) -> Report:
    """Run every check; ``print`` the report, or ask ``report.ok``.

    Args and errors: those of :func:`checks`. What the plugin does wrong is not raised;
    it is a failure in the report.
    """
    found = checks(kind, plugin, settings, **hints)
    outcomes = tuple(check.outcome() for check in found)
    return Report(str(found[0].subject), outcomes)


def assert_plugin(
    kind: str,
    plugin: str | Plugin,
    settings: Given = None,
    **hints: Unpack[Hints],
) -> Report:
    """Run every check.

    Raises:
        AssertionError: a check failed; the message is the whole report.
    """
    __tracebackhide__ = True
    report = check_plugin(kind, plugin, settings, **hints)
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def plugin_checks(
    kind: str,
    plugin: str | Plugin,
    settings: Given = None,
    **hints: Unpack[Hints],
) -> Callable[[F], F]:
    """Decorator of a pytest test with an argument ``check``: one test a check, by its id.

    ::

        @plugin_checks("text_encoder", "my_encoder", settings={"width": 32})
        def test_contract(check):
            check()

    ::

        def settings(folder):
            (folder / "rows.csv").write_text("id,query\\n1,cat\\n")
            return {"path": str(folder / "rows.csv")}

        @plugin_checks("dataset", "my_dataset", settings)
        def test_contract(check):
            check()
    """
    import pytest

    found = checks(kind, plugin, settings, **hints)
    return pytest.mark.parametrize("check", [pytest.param(one, id=one.id) for one in found])

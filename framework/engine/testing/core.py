"""What a check is, how one is written, and how it is run."""

from __future__ import annotations

import traceback
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine.testing.report import RuleFailure, RuleOutcome

if TYPE_CHECKING:
    from engine.testing.subject import Subject

_HERE = str(Path(__file__).parent)


class CheckFailure(AssertionError):
    """A check failed; ``failure`` says how."""

    def __init__(self, failure: RuleFailure) -> None:
        super().__init__(f"\n{failure}")
        self.failure = failure


class Violation(Exception):
    """Raised inside a check: the promise is not kept. See :func:`fault`."""

    def __init__(self, expected: str, found: str, why: str | None) -> None:
        super().__init__(found)
        self.expected, self.found, self.why = expected, found, why


class NotApplicable(Exception):
    """Raised inside a check: this plugin has nothing to check here."""


def fault(expected: str, found: str, why: str | None = None) -> NoReturn:
    """End the check: the promise is not kept.

    Args:
        expected: what the contract asks for, with numbers.
        found: what was there, with numbers, places and names.
        why: in place of the rule's own reason.
    """
    raise Violation(expected, found, why)


@dataclass(frozen=True)
class Rule:
    """A promise of a contract and how to check it.

    Attributes:
        id: its name, the same for all kinds that have it.
        contract: where the promise stands.
        says: a sentence of the docstring there, word for word (a test holds the kit to it).
        why: why it matters to who uses the plugin.
        run: checks it; raises through :func:`fault`.
        needs: ids of the rules that must hold before this one can be checked.
    """

    id: str
    contract: str
    says: str
    why: str
    run: Callable[[Any], None]
    needs: tuple[str, ...] = ()


def rule(
    *, contract: str, says: str, why: str, needs: tuple[str, ...] = (), id: str | None = None
) -> Callable[[Callable[[Any], None]], Rule]:
    """Make a function a :class:`Rule`; its name is the id."""

    def make(run: Callable[[Any], None]) -> Rule:
        return Rule(id or run.__name__, contract, says, why, run, needs)

    return make


@dataclass(frozen=True)
class Check:
    """One check of one plugin. Calling it raises where the promise is not kept.

    Attributes:
        rule: what is checked.
        subject: the plugin.
    """

    rule: Rule
    subject: Subject

    @property
    def id(self) -> str:
        """The rule's name, ``"batch_independence"``."""
        return self.rule.id

    def __call__(self) -> None:
        """Check.

        Raises:
            CheckFailure: (an AssertionError) the promise is not kept.
            unittest.SkipTest: nothing to check, or something it needs failed; pytest skips then.
        """
        __tracebackhide__ = True  # pytest shows the message, not our own frames
        found = self.outcome()
        if found.failure is not None:
            raise CheckFailure(found.failure)
        if found.status != "passed":
            raise unittest.SkipTest(found.reason)

    def outcome(self) -> RuleOutcome:
        """Check, once; raises nothing."""
        known = self.subject.outcomes
        if self.id not in known:
            known[self.id] = self._find()
        return known[self.id]

    def _find(self) -> RuleOutcome:
        if self.id in self.subject.skip:
            return RuleOutcome(self.id, "skipped", self.subject.skip[self.id])
        for need in self.rule.needs:
            if need not in self.subject.rules:
                continue  # a promise of another kind
            before = Check(self.subject.rules[need], self.subject).outcome()
            if before.status in ("failed", "blocked"):
                first = need if before.status == "failed" else before.reason.split("`")[1]
                return RuleOutcome(self.id, "blocked", f"`{first}` failed, mend that first")
        try:
            with self.subject.quiet():
                self.rule.run(self.subject)
        except Violation as found:
            return self._failed(found.expected, found.found, found.why)
        except NotApplicable as why:
            return RuleOutcome(self.id, "skipped", str(why))
        except Exception as error:  # the plugin's code may raise anything
            return self._failed("no error", describe(error), None)
        return RuleOutcome(self.id, "passed")

    def _failed(self, expected: str, found: str, why: str | None) -> RuleOutcome:
        rule = self.rule
        failure = RuleFailure(
            self.id, str(self.subject), expected, found, why or rule.why, rule.contract, rule.says
        )
        return RuleOutcome(self.id, "failed", failure=failure)


def describe(error: BaseException) -> str:
    """An error in one or two lines: what, and the plugin's own line that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    text = f"{type(error).__name__}: {error}".strip()
    if len(text) > 600:
        text = f"{text[:599]}…"
    own = [frame for frame in theirs if not _is_library(frame.filename)] or theirs
    if not own:
        return text
    frame = own[-1]
    return f"{text}\nat {frame.filename}:{frame.lineno}, in {frame.name}: {frame.line or ''}"


def _is_library(name: str) -> bool:
    return "site-packages" in name or "/lib/python" in name or name.startswith("<")

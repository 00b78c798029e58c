"""A rule applied to a plugin: run once, its outcome in words."""

from __future__ import annotations

import unittest
from dataclasses import dataclass

from engine.testing.core import NotApplicable, Rule, Violation, describe
from engine.testing.report import RuleFailure, RuleOutcome
from engine.testing.subject import Subject


class CheckFailure(AssertionError):
    """A check failed; ``failure`` says how."""

    def __init__(self, failure: RuleFailure) -> None:
        super().__init__(f"\n{failure}")
        self.failure = failure


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

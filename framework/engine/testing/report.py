"""What the checks found, in words. Nothing here imports torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_WIDTH = 100


@dataclass(frozen=True)
class RuleFailure:
    """A promise that is not kept.

    Attributes:
        check: id of the check, ``"batch_independence"``.
        plugin: kind, name and class of the plugin.
        expected: what the contract asks for.
        found: what the plugin did.
        why: why it matters.
        contract: where the promise stands, ``"engine.contracts.tower.Tower.run"``.
        says: the sentence that promises it, word for word.
    """

    check: str
    plugin: str
    expected: str
    found: str
    why: str
    contract: str
    says: str

    def __str__(self) -> str:
        rows = (
            ("expected", self.expected),
            ("found", self.found),
            ("why", self.why),
            ("contract", f'{self.contract}\n"{self.says}"'),
        )
        return "\n".join([f"{self.check}: {self.plugin}", *(_row(*row) for row in rows)])


def _row(label: str, text: str) -> str:
    """A label, and a text of one or more lines beside it."""
    indent = " " * 13
    lines = [
        part
        for line in text.splitlines() or [""]
        for part in textwrap.wrap(
            line, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False,
            subsequent_indent=" " * (len(line) - len(line.lstrip())), drop_whitespace=True,
        ) or [""]
    ]  # fmt: skip
    return f"  {label:<11}" + f"\n{indent}".join(lines)


@dataclass(frozen=True)
class RuleOutcome:
    """What came of one check.

    Attributes:
        check: its id.
        status: ``passed``; ``failed``; ``skipped``: the check does not apply, or was left out;
            ``blocked``: something that it needs failed already.
        reason: why it was skipped or blocked.
        failure: where it failed.
    """

    check: str
    status: Literal["passed", "failed", "skipped", "blocked"]
    reason: str = ""
    failure: RuleFailure | None = None


@dataclass(frozen=True)
class Report:
    """All that was found of one plugin. ``print(report)`` is for people.

    Attributes:
        plugin: kind, name and class of the plugin.
        outcomes: one for each check, in order.
    """

    plugin: str
    outcomes: tuple[RuleOutcome, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> list[RuleFailure]:
        """The promises that are not kept."""
        return [outcome.failure for outcome in self.outcomes if outcome.failure is not None]

    @property
    def failed(self) -> list[str]:
        """Ids of the checks that failed."""
        return self._ids("failed")

    @property
    def passed(self) -> list[str]:
        """Ids of the checks that passed."""
        return self._ids("passed")

    def _ids(self, status: str) -> list[str]:
        return [outcome.check for outcome in self.outcomes if outcome.status == status]

    def __str__(self) -> str:
        counts = [f"{len(self.failed)} failed"] if self.failed else []
        counts.append(f"{len(self.passed)} passed")
        counts += [f"{len(self._ids(s))} {s}" for s in ("blocked", "skipped") if self._ids(s)]
        parts = [f"{self.plugin}: {', '.join(counts)}"]
        parts += [str(failure) for failure in self.failures]
        parts += list(self._left_out())
        return "\n\n".join(parts)

    def _left_out(self) -> Iterable[str]:
        for status, title in (("blocked", "Not checked yet:"), ("skipped", "Does not apply:")):
            lines = [f"  {o.check}: {o.reason}" for o in self.outcomes if o.status == status]
            if lines:
                yield "\n".join([title, *lines])

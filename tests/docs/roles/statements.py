"""A role: pages that somebody reads, and statements of these pages that are held against Engine.

A statement quotes its page word for word, so that a page which says something else is noticed, and
checks the quotation by running Engine as that reader would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...scaffold.environment import ROOT, Environment


@dataclass
class World:
    """Where a reader works.

    Attributes:
        environment: the clean environment with the wheel of Engine.
        folder: where the reader is now.
        where: a file in which a shell leaves the folder that it ended in.
        kept: what one statement leaves for the next.
    """

    environment: Environment
    folder: Path
    where: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def ok(self, command: str) -> str:
        """The stdout of a command that must succeed, without a traceback on stderr."""
        done = self.run(command)
        assert done.returncode == 0, f"$ {command}\nexit code {done.returncode}\n{done.text}"
        assert "Traceback" not in done.stderr, f"$ {command}\n{done.stderr}"
        return done.stdout

    def json(self, command: str) -> Any:
        """What a command with ``--json`` prints."""
        return json.loads(self.ok(f"{command} --json"))

    def fails(self, code: int, command: str, *says: str) -> str:
        """The output of a command that must end with this exit code, with these words in it."""
        done = self.run(command)
        assert done.returncode == code, f"$ {command}\nexit code {done.returncode}\n{done.text}"
        words = squeezed(done.text)
        assert "Traceback" not in words, f"$ {command}\n{done.text}"
        for each in says:
            assert each in words, f"$ {command}\ndoes not say {each!r}:\n{done.text}"
        return done.text

    def run(self, command: str) -> Done:
        """Run a command of the shell."""
        ran = self.environment.run("bash", "-c", command, cwd=self.folder)
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def path(self, name: str) -> Path:
        """A file below the folder."""
        return self.folder / name

    def text(self, name: str) -> str:
        """The text of a file below the folder."""
        return self.path(name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Write a file below the folder."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return f"{self.stdout}\n{self.stderr}"


Check = Callable[[World], None]


@dataclass(frozen=True)
class Statement:
    """A sentence of a page, with what shows that it is true.

    Attributes:
        page: relative to the repository.
        says: word for word; line ends and spaces do not count.
        check: fails where it is not true.
    """

    page: str
    says: str
    check: Check

    def quoted(self) -> None:
        """Fail where the page does not say so."""
        page = squeezed((ROOT / self.page).read_text(encoding="utf-8"))
        assert squeezed(self.says) in page, f"{self.page} does not say: {self.says}"


@dataclass(frozen=True)
class Role:
    """Somebody with a job.

    Attributes:
        name: of the role.
        pages: of ``docs/`` whose blocks are run first, in this order, each in a folder of its own.
        statements: in order; their folder is that of the last page, as its blocks left it.
        configs: whether the reader works in a checkout, with its configs.
    """

    name: str
    pages: Sequence[str]
    statements: Sequence[Statement]
    configs: bool = True


def squeezed(text: str) -> str:
    """Every run of white space as one space, the frames of messages left out."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text).strip()


def of(page: str, into: list[Statement], says: str) -> Callable[[Check], Check]:
    """Register a check under the sentence that it checks."""

    def register(check: Check) -> Check:
        into.append(Statement(page, says, check))
        return check

    return register

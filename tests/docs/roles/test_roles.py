"""The roles' statements stand in the docs; the quickest role is played whole.

All of them: ``make roles``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ...scaffold.environment import Environment
from . import ci_engineer
from .__main__ import ROLES, play


def test_every_statement_stands_on_its_page() -> None:
    for role in ROLES.values():
        assert role.statements
        for statement in role.statements:
            statement.quoted()


def test_a_statement_that_no_page_makes_is_noticed() -> None:
    from .statements import Statement

    missing = Statement("docs/ci.md", "`engine size` costs nothing.", lambda world: None)
    with pytest.raises(AssertionError, match="does not say"):
        missing.quoted()


@pytest.mark.slow
def test_the_ci_engineer_finds_everything_true(clean: Environment, tmp_path: Path) -> None:
    said: list[str] = []
    play(ci_engineer.ROLE, clean, tmp_path / "ci", said.append)
    assert len(said) == len(ci_engineer.ROLE.statements)

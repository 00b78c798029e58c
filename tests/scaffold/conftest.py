"""The clean environment that slow tests share."""

from __future__ import annotations

import pytest

from .environment import Environment, make


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with Engine and nothing else; leave it as you found it."""
    return make(tmp_path_factory.mktemp("clean") / "venv")

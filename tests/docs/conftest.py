"""The clean environment in which the pages' commands run."""

from __future__ import annotations

import pytest

from ..scaffold.environment import Environment, make


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with Engine and nothing else."""
    return make(tmp_path_factory.mktemp("clean") / "venv")

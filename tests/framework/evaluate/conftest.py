"""Shared by the tests of evaluation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

MACRO_F1 = Path(__file__).parents[2] / "packages" / "engine-macro-f1" / "src" / "engine_macro_f1.py"


@pytest.fixture(scope="module")
def macro_f1() -> ModuleType:
    """The metric of the example package, imported from its one file."""
    spec = importlib.util.spec_from_file_location("engine_macro_f1", MACRO_F1)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

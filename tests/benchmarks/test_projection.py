"""What benchmarks/projection.py times: every job takes a step and reaches its inputs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def projection(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with few and short texts."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    module = importlib.import_module("projection")
    for name, value in {"ROWS": 8, "TOKENS": 4, "IN": 6, "OUT": 5, "EMBEDDING": 4}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_every_job_takes_a_step(projection: ModuleType) -> None:
    torch.manual_seed(0)
    todo, state = projection.jobs()
    assert set(todo) == set(projection.NAMES)
    for module, loss in todo.values():
        projection.step(module, loss, {"pooled": state["pooled"]})
        assert state["pooled"].grad is not None
        assert any(parameter.grad is not None for parameter in module.parameters())

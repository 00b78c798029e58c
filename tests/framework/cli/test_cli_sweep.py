"""``engine sweep``: the plan, the table, the page, what is said with the winner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .test_cli_runs import LITTLE

Engine = Callable[..., tuple[int, str, str]]

SWEEP = """
engine: 1
name: tried
config: little.yaml
keys: {model.text.width: [8, 256], train.stages.0.optimizer.lr: [1.0e-3, 1.0e-2]}
limit: 100 kB
halving: {rungs: 2, factor: 2, finalists: 1}
"""


def test_a_sweep_from_the_plan_to_the_page(engine: Engine, tmp_path: Path) -> None:
    config = LITTLE.replace("batch_size: 16}", "batch_size: 16, optimizer: {use: adamw}}")
    (tmp_path / "little.yaml").write_text(config, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    code, out, err = engine("sweep", "sweep.yaml", "--plan")
    assert code == 0, err
    assert out.count("planned") == 2
    assert out.count("refused") == 2
    assert not (tmp_path / "build").exists()

    code, out, err = engine("sweep", "sweep.yaml")
    assert code == 0, err
    words = " ".join(out.split())
    assert "of the 8 steps that all trials take" in words
    assert "chance" in words
    assert "the best: build/sweeps/tried/trials/" in words
    assert "too good by what was chosen for" in " ".join(err.split())
    text = (tmp_path / "build/sweeps/tried/sweep.html").read_text(encoding="utf-8")
    assert "100,000 are allowed" in text

    code, out, _ = engine("sweep", "sweep.yaml", "--json")  # nothing is left to do
    found = json.loads(out)
    assert code == 0
    assert found["trained_steps"] <= found["steps_of_all"]
    assert engine("size", found["model"], "--limit", "100kB")[0] == 0
    assert engine("check", found["best_config"])[0] == 0

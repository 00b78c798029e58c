"""`engine size` of configs with numbers that no real model has: one clear line, at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "override",
    [
        "model.text.layers=1000000",
        "model.vision.layers=1000000",
        f"model.embed_dim={10**30}",
        "model.embed_dim=9e39",
        f"seed={10**29}",
        "model.text.vocab_size=99999999999",
        "model.text.max_tokens=9000000000",
    ],
)
def test_a_hostile_number_is_one_line(override: str) -> None:
    config = str(ROOT / "configs" / "tiny" / "clip_openai.yaml")
    result = CliRunner().invoke(app, ["size", config, "--set", override])
    assert result.exception is not None
    assert override.partition("=")[0] in str(result.exception)
    assert "Traceback" not in result.output

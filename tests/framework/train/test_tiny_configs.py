"""The tiny configs learn: shortened, they classify what training never showed far above chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.config import load_config
from engine.train.run import train

TINY = Path(__file__).resolve().parents[3] / "configs" / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs", "images", "chance"),
    [("digits", 8, 359, 0.1), ("clip_openai", 6, 480, 1 / 24)],
)
def test_a_shortened_training_is_far_above_chance(
    name: str, epochs: int, images: int, chance: float, tmp_path: Path
) -> None:
    config = load_config(
        TINY / f"{name}.yaml",
        (f"train.stages.0.epochs={epochs}", "train.evaluate_every=0", "train.loggers=[]"),
    )
    built, _ = train(config, tmp_path / "run")
    found = built.manifest["scores"]["accuracy"] / 100
    deviation = (chance * (1 - chance) / images) ** 0.5  # of guessing
    assert found > chance + 6 * deviation

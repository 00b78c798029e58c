"""configs/teach: valid, and their text encoders as heavy as their names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.config import load_config
from engine.core.size import config_size

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "teach"
MEGABYTES = {
    "siglip2_ru": 20, "siglip2_ru_40": 40, "siglip2_ru_60": 60,
    "clip_b32_ru": 20, "clip_b32_ru_40": 40, "clip_b32_ru_60": 60,
    "mobileclip2_ru": 20, "mobileclip2_ru_40": 40, "mobileclip2_ru_60": 60,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_config_for_teaching(path: Path) -> None:
    config = load_config(path)
    assert config.train is not None
    assert config.train.teachers.keys() == {"original"}
    parts = {part.name: part.bytes for part in config_size(config).parts}
    text = parts["text"] + parts["text_projection"]
    assert 0.9 * MEGABYTES[path.stem] <= text / 1e6 <= MEGABYTES[path.stem]
    assert "Not measured" in path.read_text(encoding="utf-8")

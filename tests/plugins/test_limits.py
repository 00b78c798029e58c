"""Settings of the built-in plugins have upper limits: an error at once, and not minutes of work."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.core.registry import default_registry

HUGE = [
    ("text_encoder", name, key)
    for name in ("openai_clip", "ruclip", "gpt3small", "rubert", "bpe_transformer", "bag_of_tokens")
    for key in ("layers", "width", "vocab_size")
] + [
    ("vision_tower", name, key)
    for name in ("openai_clip", "ruclip", "small_vit")
    for key in ("layers", "width", "image_size")
]


@pytest.mark.parametrize(("kind", "name", "key"), HUGE)
@pytest.mark.parametrize("value", [1_000_000_000, 2**63, 10**30, 9e39])
def test_no_size_is_without_limit(kind: str, name: str, key: str, value: Any) -> None:
    registry = default_registry()
    settings = registry.get(kind, name).load_settings()
    with pytest.raises(ValidationError, match=r"less than or equal|whole number|Unable to parse"):
        settings.model_validate({key: value}, context={"registry": registry})


@pytest.mark.parametrize(("kind", "name", "key"), [h for h in HUGE if h[2] == "layers"])
def test_a_million_layers_are_refused(kind: str, name: str, key: str) -> None:
    registry = default_registry()
    settings = registry.get(kind, name).load_settings()
    with pytest.raises(ValidationError, match="less than or equal"):
        settings.model_validate({key: 1_000_000}, context={"registry": registry})

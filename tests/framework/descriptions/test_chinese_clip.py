"""Chinese CLIP of transformers: CLIP's vision tower, and BERT pooled at its first token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ChineseCLIPConfig, ChineseCLIPModel

from engine.contracts import pad_tokens
from engine.errors import WeightsError
from engine.importing import import_checkpoint

from .test_transformers import BERT, READ, ROWS, SEEN, _no_tokenizer, config, shaken, tokens

__all__ = ["_no_tokenizer"]  # a fixture of this module, too


@pytest.mark.parametrize(
    ("side", "change", "pooling"),
    [
        ("", {}, "first"),
        ("", {}, "mean"),
        ("text_config", {"hidden_act": "relu"}, "first"),
        ("text_config", {"num_attention_heads": 2}, "first"),
        ("vision_config", {"hidden_act": "gelu"}, "first"),
    ],
)
def test_chinese_clip_is_clip_and_bert(
    side: str, change: dict[str, Any], pooling: str, tmp_path: Path
) -> None:
    sections = {"vision_config": dict(SEEN), "text_config": dict(READ)}
    if side:
        sections[side] |= change
    theirs = shaken(ChineseCLIPModel(ChineseCLIPConfig(projection_dim=16, **sections)))
    theirs.save_pretrained(tmp_path)
    settings = config({**BERT, "pooling": pooling})
    if side or pooling == "mean":
        with pytest.raises(WeightsError, match=next(iter(change), "pooler_output")):
            import_checkpoint(tmp_path, settings)
        return
    ours = import_checkpoint(tmp_path, settings).model
    pixels, batch = torch.randn(2, 3, 16, 16), pad_tokens(ROWS, pad_id=0)
    with torch.no_grad():
        found = (ours.encode_image(pixels), ours.encode_text(**batch))
        out = theirs(pixel_values=pixels, **tokens())
    for mine, other in zip(found, (out.image_embeds, out.text_embeds), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)

"""CLIP's towers in open_clip's terms: its ``model_cfg`` and the tensors under its names.

open_clip's names are Engine's own but for ``visual`` and the text transformer at the top, so an
imported model is exported bit for bit. A projection ``linear`` beside a tower is multiplied into
the tower's own, and rounded once.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from engine.contracts.checkpoint_adapter import ModelParts
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters.transformers_export import matrix
from engine_plugins.text.clip import ClipText
from engine_plugins.vision.clip import ClipVision

_INSTEAD = "`engine export --to onnx` has no such limits"


def describe(parts: ModelParts) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """See ``engine.contracts.checkpoint_adapter.CheckpointAdapter.to_open_clip``."""
    vision, text = parts.vision, parts.text
    if not isinstance(vision, ClipVision) or not isinstance(text, ClipText):
        odd = text if isinstance(vision, ClipVision) else vision
        raise WeightsError(
            f"{type(odd).__name__} has no form in open_clip that Engine writes; CLIP's own towers"
            " (`openai_clip`, `ruclip`) have",
            hint=_INSTEAD,
        )
    if vision.settings.quick_gelu != text.settings.quick_gelu:
        raise WeightsError(
            "one tower computes with QuickGELU and the other with GELU; open_clip's model has one"
            " activation for both",
            hint=_INSTEAD,
        )
    seen = {name: tensor.detach().float() for name, tensor in vision.state_dict().items()}
    read = {name: tensor.detach().float() for name, tensor in text.state_dict().items()}
    seen["proj"] = matrix(parts.vision_projection, seen.pop("proj", None), "vision").t()
    read["text_projection"] = matrix(parts.text_projection, read["text_projection"], "text").t()
    tensors = {f"visual.{name}": tensor for name, tensor in seen.items()} | read
    config = {
        "embed_dim": seen["proj"].shape[1],
        "quick_gelu": text.settings.quick_gelu,
        "vision_cfg": _vision(vision),
        "text_cfg": _text(text, parts.end_mark),
    }
    return config, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _vision(tower: ClipVision) -> dict[str, Any]:
    settings = tower.settings
    return {
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "width": settings.width,
        "layers": settings.layers,
        "head_width": settings.width // settings.heads,
        "mlp_ratio": settings.mlp_ratio,
    }


def _text(tower: ClipText, end_mark: int | None) -> dict[str, Any]:
    settings = tower.settings
    if end_mark is None:
        raise WeightsError(
            "open_clip pools at the end mark of a text, and this tokenizer does not end every text"
            " with one mark that stands nowhere else",
            hint=_INSTEAD,
        )
    largest = end_mark == settings.vocab_size - 1
    return {
        "context_length": settings.max_tokens,
        "vocab_size": settings.vocab_size,
        "width": settings.width,
        "layers": settings.layers,
        "heads": settings.heads,
        "mlp_ratio": settings.mlp_ratio,
        **({} if largest else {"pool_type": "eos", "eos_id": end_mark}),
    }

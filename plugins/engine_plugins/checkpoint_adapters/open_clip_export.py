"""Towers in open_clip's terms: its ``model_cfg`` and the tensors under its names.

======================== ===========================================================================
vision                   CLIP's own; timm's, with ``identity``, ``linear`` or ``mlp`` behind it
text                     CLIP's own; SigLIP's and MobileCLIP's, which read padding; BERT's, XLM-R's
                         and NLLB's encoders of transformers (:mod:`.open_clip_encoders`)
======================== ===========================================================================

open_clip's names are Engine's own but for ``visual`` and the text transformer, which stands at the
top where both towers are CLIP's (its class ``CLIP``), and else under ``text`` (``CustomTextCLIP``).
So an imported model is exported bit for bit. A projection ``linear`` beside a tower of CLIP is
multiplied into the tower's own, and rounded once.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from engine.contracts import Projection
from engine.contracts.checkpoint_adapter import ModelParts
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters import open_clip_encoders
from engine_plugins.checkpoint_adapters.transformers_export import matrix
from engine_plugins.projections.simple import Identity, Linear, TwoLayers
from engine_plugins.text.clip import ClipText
from engine_plugins.text.padded import PaddedText
from engine_plugins.vision.clip import ClipVision
from engine_plugins.vision.folded_plans import norm_eps
from engine_plugins.vision.folding import unfolded_tensors
from engine_plugins.vision.timm import TimmVision
from engine_plugins.vision.timm_described import pool_of

_INSTEAD = "`engine export --to onnx` has no such limits"
_EPS = 1e-5  # of open_clip's own norms

Tensors = dict[str, Tensor]


def describe(parts: ModelParts) -> tuple[dict[str, Any], Tensors]:
    """See ``engine.contracts.checkpoint_adapter.CheckpointAdapter.to_open_clip``."""
    vision_cfg, seen, width = _vision(parts)
    text_cfg, read = _text(parts, width)
    quick = _quick_gelu(parts)
    config: dict[str, Any] = {"embed_dim": width, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    both = isinstance(parts.vision, ClipVision) and isinstance(parts.text, ClipText)
    prefix = "" if both else "text."
    if not both:
        config["custom_text"] = True
    if quick or both:
        config["quick_gelu"] = quick
    tensors = {f"visual.{name}": tensor for name, tensor in seen.items()}
    tensors |= {prefix + name: tensor for name, tensor in read.items()}
    return config, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _own(tower: Any) -> Tensors:
    return {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor
        for name, tensor in tower.state_dict().items()
    }


def _quick_gelu(parts: ModelParts) -> bool:
    """open_clip's model has one activation for both of its own towers; timm's has its own."""
    vision, text = parts.vision, parts.text
    found = set()
    if isinstance(vision, ClipVision):
        found.add(vision.settings.quick_gelu)
    if isinstance(text, ClipText):
        found.add(text.settings.quick_gelu)
    elif isinstance(text, PaddedText):
        found.add(text.settings.activation == "quick_gelu")
    if len(found) > 1:
        raise WeightsError(
            "one tower computes with QuickGELU and the other with GELU; open_clip's model has one"
            " activation for both",
            hint=_INSTEAD,
        )
    return bool(found) and found.pop()


def _vision(parts: ModelParts) -> tuple[dict[str, Any], Tensors, int]:
    """``vision_cfg``, the tensors below ``visual.``, and the width of the joint space."""
    tower = parts.vision
    if isinstance(tower, ClipVision):
        seen = _own(tower)
        seen["proj"] = matrix(parts.vision_projection, seen.pop("proj", None), "vision").t()
        return _clip_vision(tower), seen, seen["proj"].shape[1]
    if isinstance(tower, TimmVision):
        return _timm_vision(tower, parts.vision_projection)
    raise _no_form(tower)


def _no_form(tower: Any) -> WeightsError:
    return WeightsError(
        f"{type(tower).__name__} has no form in open_clip that Engine writes; CLIP's own towers"
        " (`openai_clip`, `ruclip`), SigLIP's, MobileCLIP's and timm's have, and the encoders"
        " BERT, XLM-RoBERTa and NLLB",
        hint=_INSTEAD,
    )


def _clip_vision(tower: ClipVision) -> dict[str, Any]:
    settings = tower.settings
    return {
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "width": settings.width,
        "layers": settings.layers,
        "head_width": settings.width // settings.heads,
        "mlp_ratio": settings.mlp_ratio,
    }


def _timm_vision(tower: TimmVision, projection: Projection) -> tuple[dict[str, Any], Tensors, int]:
    settings = tower.settings
    for name in ("activation", "vit"):
        if getattr(settings, name) is not None:
            raise WeightsError(
                f"open_clip builds timm's models as timm does, and `model.vision.{name}` is set",
                hint=f"`engine export --to transformers` has a form of SigLIP's towers; {_INSTEAD}",
            )
    arch = settings.arch.partition(".")[0]
    _check_size(arch, tower.preprocess.size)
    config: dict[str, Any] = {
        "image_size": tower.preprocess.size,
        "timm_model_name": arch,
        "timm_model_pretrained": False,
        "timm_pool": pool_of(tower.model) or "",
    }
    own = {name.removeprefix("model."): tensor for name, tensor in _own(tower).items()}
    if settings.fold_norms:  # open_clip has the batch norms of timm's model
        eps = norm_eps(settings.arch)
        assert eps is not None  # checked when the tower was made
        own = unfolded_tensors(own, tower.model, eps)
    tensors = {f"trunk.{name}": tensor for name, tensor in own.items()}
    head, of_head = _timm_head(tower, projection)
    return {**config, **head}, tensors | of_head, projection.out_width


def _check_size(arch: str, size: int) -> None:
    """open_clip hands no size on to timm: what takes one size alone must be of its own."""
    import timm

    record = timm.get_pretrained_cfg(arch)
    if record is None or not record.fixed_input_size or record.input_size[-1] == size:
        return
    raise WeightsError(
        f"open_clip builds `{arch}` for pictures of {record.input_size[-1]} pixels, and"
        f" `model.vision.image_size` is {size}",
        hint=_INSTEAD,
    )


def _timm_head(tower: TimmVision, projection: Projection) -> tuple[dict[str, Any], Tensors]:
    """open_clip's ``timm_proj`` and the tensors of the projection."""
    own = _own(projection)
    if isinstance(projection, Identity):
        return {"timm_proj": "none"}, {}
    if isinstance(projection, Linear):
        place = tower.classifier_place()
        pooled = pool_of(tower.model) is not None
        if projection.linear.bias is not None and place is not None and pooled:
            # With a bias it is timm's own classifier, as open_clip's MobileCLIP has it.
            return {"timm_proj": None}, {
                f"trunk.{place}.{n.removeprefix('linear.')}": t for n, t in own.items()
            }
        bias = projection.linear.bias is not None
        return {"timm_proj": "linear", "timm_proj_bias": bias}, {
            f"head.proj.{n.removeprefix('linear.')}": t for n, t in own.items()
        }
    if isinstance(projection, TwoLayers):
        first, second = projection.fc1, projection.fc2
        if first.bias is None or first.out_features != 2 * second.out_features:
            raise WeightsError(
                "open_clip's `mlp` behind a vision tower of timm has a bias in its first layer and"
                f" is {2 * second.out_features} wide inside; `model.projection.vision` is not",
                hint=_INSTEAD,
            )
        bias = second.bias is not None
        return {"timm_proj": "mlp", "timm_proj_bias": bias}, {
            f"head.mlp.{n}": t for n, t in own.items()
        }
    raise WeightsError(
        f"the vision projection {type(projection).__name__} has no form in open_clip", hint=_INSTEAD
    )


def _text(parts: ModelParts, width: int) -> tuple[dict[str, Any], Tensors]:
    """``text_cfg``, and the tensors of the text transformer."""
    tower = parts.text
    read = _own(tower)
    if isinstance(tower, ClipText):
        read["text_projection"] = matrix(
            parts.text_projection, read["text_projection"], "text"
        ).t()  # fmt: skip
        return _clip_text(tower, parts.end_mark), read
    if open_clip_encoders.has_form(tower):
        return open_clip_encoders.describe(parts)
    if not isinstance(tower, PaddedText):
        raise _no_form(tower)
    if not isinstance(parts.text_projection, Identity):
        raise WeightsError(
            "open_clip's text transformer has its projection inside, and"
            f" `model.projection.text` is {type(parts.text_projection).__name__}",
            hint=_INSTEAD,
        )
    return _padded_text(tower, parts.end_mark), read


def _clip_text(tower: ClipText, end_mark: int | None) -> dict[str, Any]:
    settings = tower.settings
    return {**_numbers(tower), "mlp_ratio": settings.mlp_ratio,
            **_pooled_at_end(settings.vocab_size, end_mark)}  # fmt: skip


def _numbers(tower: ClipText | PaddedText) -> dict[str, Any]:
    settings = tower.settings
    return {
        "context_length": settings.max_tokens,
        "vocab_size": settings.vocab_size,
        "width": settings.width,
        "layers": settings.layers,
        "heads": settings.heads,
    }


def _pooled_at_end(vocab_size: int, end_mark: int | None) -> dict[str, Any]:
    if end_mark is None:
        raise WeightsError(
            "open_clip pools at the end mark of a text, and this tokenizer does not end every text"
            " with one mark that stands nowhere else",
            hint=_INSTEAD,
        )
    return {} if end_mark == vocab_size - 1 else {"pool_type": "eos", "eos_id": end_mark}


def _padded_text(tower: PaddedText, end_mark: int | None) -> dict[str, Any]:
    settings = tower.settings
    config = {
        **_numbers(tower),
        "mlp_ratio": settings.mlp_ratio,
        "no_causal_mask": True,
        "pad_id": settings.pad_id,
        "proj_bias": settings.project == "linear",
        "proj_type": "none" if settings.project == "none" else "linear",
    }
    if settings.pooling == "last":
        config["pool_type"] = "last"
    else:
        config |= _pooled_at_end(settings.vocab_size, end_mark)
    if settings.norm_eps != _EPS:
        config["norm_kwargs"] = {"eps": settings.norm_eps}
    if settings.activation == "gelu_tanh":
        config["act_kwargs"] = {"approximate": "tanh"}
    return config

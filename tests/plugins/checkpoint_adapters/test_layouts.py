"""Checkpoint adapters by their names alone: which file is whose, and what becomes of each name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.contracts import CheckpointAdapter
from engine.core.registry import default_registry
from engine_plugins.checkpoint_adapters.transformers_names import join_attention


def layout(name: str) -> CheckpointAdapter:
    plugin = default_registry().get("checkpoint_adapter", name)
    made: CheckpointAdapter = plugin.load()(plugin.load_settings()())
    return made


FIRST = {
    "logit_scale": "logit_scale",
    "visual_encoder.model.proj": "vision.proj",
    "visual_encoder.model.transformer.resblocks.0.attn.in_proj_weight":
        "vision.transformer.resblocks.0.attn.in_proj_weight",
    "visual_encoder.projection.linear1.weight": "vision_projection.linear1.weight",
    "text_encoder.model.wte.weight": "text.wte.weight",
    "text_encoder.model.h.11.attn.c_attn.bias": "text.h.11.attn.c_attn.bias",
    "text_encoder.model.h.11.attn.bias": None,
    "text_encoder.model.h.0.attn.masked_bias": None,
    "text_encoder.model.transformer.h.0.attn.bias": None,
    "text_encoder.model.transformer.ln_f.bias": "text.ln_f.bias",
    "text_encoder.projection.layer_norm.bias": "text_projection.layer_norm.bias",
    "text_encoder.projection.0.linear1.weight": "text_projection.projections.0.linear1.weight",
    "text_encoder.projection.18.layer_norm.bias": "text_projection.projections.9.layer_norm.bias",
    "text_encoder.distribution_cls.input_cls.resblocks.0.mlp.c_fc.bias":
        "text_projection.router.blocks.0.mlp.c_fc.bias",
    "text_encoder.distribution_cls.output_cls.weight": "text_projection.router.output.weight",
    "text_encoder.projection.3.odd": "text_projection.3.odd",  # reported to the user as unknown
    "optimizer.step": "optimizer.step",
}  # fmt: skip
OPENAI = {
    "logit_scale": "logit_scale",
    "visual.proj": "vision.proj",
    "visual.conv1.weight": "vision.conv1.weight",
    "token_embedding.weight": "text.token_embedding.weight",
    "positional_embedding": "text.positional_embedding",
    "text_projection": "text.text_projection",
    "transformer.resblocks.3.ln_1.bias": "text.transformer.resblocks.3.ln_1.bias",
    "text.ln_final.weight": "text.ln_final.weight",
    "text.token_embedding.weight": "text.token_embedding.weight",
    "input_resolution": None, "context_length": None, "vocab_size": None, "attn_mask": None,
    "text.attn_mask": None,
    "logit_bias": "logit_bias",  # SigLIP's, which no model here has: reported as unknown
}  # fmt: skip
TRANSFORMERS = {
    "logit_scale": "logit_scale",
    "visual_projection.weight": "vision_projection.weight",
    "text_projection.weight": "text_projection.weight",
    "vision_model.embeddings.class_embedding": "vision.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "vision.conv1.weight",
    "vision_model.vision_model.embeddings.position_embedding.weight": "vision.positional_embedding",
    "vision_model.embeddings.position_ids": None,
    "vision_model.pre_layrnorm.bias": "vision.ln_pre.bias",
    "vision_model.encoder.layers.11.self_attn.out_proj.weight":
        "vision.transformer.resblocks.11.attn.out_proj.weight",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.encoder.layers.0.mlp.fc2.bias": "text.transformer.resblocks.0.mlp.c_proj.bias",
    "text_model.final_layer_norm.weight": "text.ln_final.weight",
    "text_model.embeddings.word_embeddings.weight": "text.embeddings.word_embeddings.weight",
    "text_model.embeddings.token_type_ids": None,
    "text_model.encoder.layer.0.output.dense.bias": "text.encoder.layer.0.output.dense.bias",
    "optimizer.step": "optimizer.step",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "names"),
    [("ruclip_first", FIRST), ("openai_clip", OPENAI), ("transformers", TRANSFORMERS)],
)
def test_renames(name: str, names: dict[str, str | None]) -> None:
    known = layout(name)
    assert {old: known.rename(old) for old in names} == names


FILES = {
    "first generation": ("ruclip_first", [n for n in FIRST if ".projection.0" not in n]),
    "clustered": ("ruclip_first", [n for n in FIRST if "projection.l" not in n]),
    "OpenAI": ("openai_clip", [n for n in OPENAI if not n.startswith("text.")]),
    "ruCLIP": ("openai_clip", ["visual.proj", "token_embedding.weight", "logit_scale"]),
    "custom text": ("openai_clip", ["visual.proj", "text.token_embedding.weight"]),
    "both at once": ("ruclip_first", [*FIRST, *OPENAI]),
    "vision alone": (None, ["visual.proj", "visual.conv1.weight"]),
    "first generation's vision alone": (None, [n for n in FIRST if "visual" in n]),
    "transformers' CLIP": ("transformers", list(TRANSFORMERS)),
    "transformers' SigLIP": (None, ["vision_model.x", "text_model.x", "logit_scale"]),
    "Engine's own": (None, ["vision.conv1.weight", "text.token_embedding.weight", "logit_scale"]),
    "GPT-2": (None, ["wte.weight", "ln_f.bias"]),
    "nothing": (None, []),
}  # fmt: skip


@pytest.mark.parametrize("file", list(FILES))
def test_no_two_layouts_match_one_file(file: str) -> None:
    owner, names = FILES[file]
    found = [
        name
        for name in default_registry().names("checkpoint_adapter")
        if layout(name).matches(names)
    ]
    assert found == ([owner] if owner else [])


@pytest.mark.parametrize(
    "odd",
    [torch.ones(2), torch.tensor(1.0), torch.ones(2, 2, 1), torch.ones(3, 2),
     torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.complex64), None],
)  # fmt: skip
@pytest.mark.parametrize("part", ["q_proj", "k_proj", "v_proj"])
def test_attention_that_cannot_be_joined_keeps_its_names(part: str, odd: Tensor | None) -> None:
    whole = {f"a.{name}.weight": torch.ones(2, 2) for name in ("q_proj", "k_proj", "v_proj")}
    assert list(join_attention(whole)) == ["a.in_proj_weight"]
    given = {k: t for k, t in {**whole, f"a.{part}.weight": odd}.items() if t is not None}
    assert join_attention(given).keys() == given.keys()

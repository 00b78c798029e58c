"""Small models of current families, as their own libraries write them to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from open_clip.hf_model import HFTextEncoder
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer, models

from ...plugins import siglip_models
from ...plugins.tokenizers import hub_folders
from . import foreign_folders as foreign

LONGEST = 12


def siglip(folder: Path, *, second: bool = False, **changed: Any) -> Any:
    """``SiglipModel`` with T5's vocabulary, or SigLIP 2 with Gemma's, in lower case."""
    folder.mkdir(parents=True)
    made = (hub_folders.gemma if second else hub_folders.siglip)(folder)
    tokenizer: Any = made[2]
    tokenizer.model_max_length = LONGEST
    common = {"num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 50,
              "num_attention_heads": 4, **changed}  # fmt: skip
    config = transformers.SiglipConfig(
        text_config={**common, "vocab_size": 700, "max_position_embeddings": LONGEST,
                     "projection_size": 24},
        vision_config={**common, "image_size": foreign.SIDE, "patch_size": foreign.PATCH},
    )  # fmt: skip
    model = foreign.shaken(transformers.SiglipModel(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": foreign.SIDE, "width": foreign.SIDE}
    transformers.SiglipImageProcessor(size=size).save_pretrained(folder)
    return model


def open_clip_folder(
    folder: Path, config: dict[str, Any], tokenizer: Any = None, **picture: Any
) -> Any:
    """A ``CustomTextCLIP`` as ``push_to_hf_hub`` writes it."""
    model: Any = open_clip.CustomTextCLIP(**config)
    foreign.shaken(model)
    model.visual.image_mean, model.visual.image_std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "squash", **picture}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.contiguous().clone() for n, t in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    whole = {**config, "custom_text": True}
    save_config_for_hf(model, folder / "open_clip_config.json", whole)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return model


def open_clip_siglip(folder: Path) -> Any:
    """open_clip's SigLIP: timm's tower with attention pooling, T5's vocabulary, a bias."""
    siglip_models.register()
    folder.mkdir(parents=True)
    tokenizer = hub_folders.t5(folder)[2]
    for file in (folder / "fast").iterdir():
        file.rename(folder / file.name)
    (folder / "fast").rmdir()
    tokenizer.pad_token = "</s>"
    config = {
        "embed_dim": 48, "init_logit_bias": -10.0,
        "vision_cfg": {"image_size": siglip_models.SIZE, "timm_model_name": siglip_models.ARCH,
                       "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**siglip_models.OPEN_CLIP_TEXT, "vocab_size": 500, "hf_tokenizer_name": ".",
                     "tokenizer_kwargs": {"clean": "canonicalize"}},
    }  # fmt: skip
    return open_clip_folder(folder, config, tokenizer)


def mobileclip(folder: Path) -> Any:
    """open_clip's MobileCLIP: FastViT with its classifier, CLIP's vocabulary, no causal mask."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "timm_model_name": "fastvit_t8", "timm_pool": "avg",
                       "timm_model_pretrained": False, "timm_proj": None},
        "text_cfg": {"context_length": LONGEST, "vocab_size": 49408, "width": 48, "heads": 4,
                     "layers": 2, "no_causal_mask": True},
    }  # fmt: skip
    return open_clip_folder(folder, config, resize_mode="shortest")


def convnext(folder: Path, proj: str = "mlp") -> Any:
    """open_clip's ConvNeXt beside CLIP's own text transformer."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "",
                       "timm_model_pretrained": False, "timm_proj": proj},
        "text_cfg": {"context_length": LONGEST, "vocab_size": 49408, "width": 48, "heads": 4,
                     "layers": 2},
    }  # fmt: skip
    return open_clip_folder(folder, config, resize_mode="shortest")


def sentences(folder: Path, kind: str, *, dense: bool) -> Any:
    """A sentence encoder of BERT's family, to the width 20: by a dense layer, or by itself."""
    width = 24 if dense else 20
    inner, top = folder.with_name(f"{folder.name}-inner"), folder.with_name("vocabulary")
    tokenizer: Any = foreign.bert_tokenizer(lower=True)
    numbers: dict[str, Any] = {**foreign.BERT, "hidden_size": width}
    if kind == "DistilBert":
        numbers = {"vocab_size": 400, "dim": width, "n_layers": 2, "n_heads": 4, "hidden_dim": 50,
                   "max_position_embeddings": LONGEST}  # fmt: skip
    elif kind == "XLMRoberta":
        top.mkdir()
        tokenizer = hub_folders.xlm_roberta(top)[2]
        numbers |= {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1,
                    "layer_norm_eps": 1e-5, "pad_token_id": 1}  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**numbers)
    foreign.shaken(getattr(transformers, f"{kind}Model")(config)).save_pretrained(inner)
    tokenizer.model_max_length = LONGEST
    tokenizer.save_pretrained(inner)
    first = models.Transformer(str(inner), max_seq_length=10)
    modules: list[Any] = [first, models.Pooling(width, pooling_mode="mean")]
    if dense:
        modules.append(models.Dense(width, 20, activation_function=torch.nn.Identity()))
    made = SentenceTransformer(modules=[*modules, models.Normalize()])
    foreign.shaken(made)
    made.save(str(folder))
    return made


def pixels(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


XLM_R: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 50, "max_position_embeddings": LONGEST + 2, "type_vocab_size": 1,
    "layer_norm_eps": 1e-5, "pad_token_id": 1,
}  # fmt: skip
NLLB: dict[str, Any] = {
    "vocab_size": 700, "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 4,
    "encoder_ffn_dim": 50, "decoder_layers": 1, "decoder_attention_heads": 4,
    "decoder_ffn_dim": 16, "max_position_embeddings": 20, "scale_embedding": True,
    "pad_token_id": 1,
}  # fmt: skip


def encoder(folder: Path, kind: str) -> Any:
    """A repository of an encoder alone: its config and its tokenizer."""
    folder.mkdir(parents=True)
    tokenizer = (hub_folders.xlm_roberta if kind == "xlm" else hub_folders.nllb)(folder)[2]
    tokenizer.model_max_length = LONGEST
    tokenizer.save_pretrained(folder)
    config: Any = (
        transformers.XLMRobertaConfig(**XLM_R) if kind == "xlm"
        else transformers.M2M100Config(**NLLB)
    )  # fmt: skip
    config.save_pretrained(folder)
    return config


HEADS = {"xlm": ("mean_pooler", "mlp"), "nllb": ("cls_pooler", "linear")}


def open_clip_of_encoder(
    folder: Path, kind: str, config: Any, head: tuple[str, str] | None = None
) -> Any:
    """open_clip's CLIP over an encoder of the hub, ``tiny/<kind>``."""
    head = head or HEADS[kind]
    text_cfg = {
        "hf_model_name": f"tiny/{kind}", "hf_tokenizer_name": f"tiny/{kind}",
        "hf_pooler_type": head[0], "hf_proj_type": head[1], "context_length": LONGEST,
        "hf_model_pretrained": False,
    }  # fmt: skip
    vision = {**foreign.OPEN_CLIP["vision_cfg"]}
    plain = {"width": 8, "heads": 1, "layers": 1}
    model: Any = open_clip.CustomTextCLIP(20, vision, plain)
    model.text = HFTextEncoder("", 20, config, *head, pretrained=False)
    if kind == "xlm":
        model.text.transformer.pooler = None
    else:
        model.text.transformer = model.text.transformer.encoder
    foreign.shaken(model)
    model.visual.image_mean, model.visual.image_std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "shortest"}
    folder.mkdir()
    save_file({n: t.contiguous().clone() for n, t in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    whole = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text_cfg, "custom_text": True}
    save_config_for_hf(model, folder / "open_clip_config.json", whole)
    return model


def m_clip(folder: Path, config: Any) -> tuple[Any, torch.nn.Linear]:
    """M-CLIP's folder over ``tiny/xlm``, its encoder and its linear layer."""
    folder.mkdir()
    tokenizer = hub_folders.xlm_roberta(folder)[2]
    tokenizer.model_max_length = LONGEST
    tokenizer.save_pretrained(folder)
    model = foreign.shaken(transformers.XLMRobertaModel(config))
    linear = foreign.shaken(torch.nn.Linear(24, 20))
    tensors = {f"transformer.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"LinearTransformation.{n}": t for n, t in linear.state_dict().items()}
    save_file({n: t.contiguous().clone() for n, t in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    about = {"model_type": "M-CLIP", "modelBase": "tiny/xlm", "numDims": 20,
             "transformerDimensions": 24}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(about))
    return model, linear

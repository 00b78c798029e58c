"""Small models of other programs, written into a folder: what teachers are tried on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def artifact(folder: Path) -> dict[str, Any]:
    """A model of Engine's, not trained."""
    from engine.core.build import build, save
    from engine.core.config import load_config

    config = load_config(Path(__file__).parents[2] / "configs" / "tiny" / "sber.yaml")
    save(build(config), folder / "artifact")
    return {"path": str(folder / "artifact")}


def open_clip(folder: Path) -> dict[str, Any]:
    """A tiny CLIP that open_clip builds from a file of its own sort."""
    import open_clip as library

    numbers = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16,
                       "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2,
                     "layers": 1},
    }  # fmt: skip
    (folder / "engine-test-tiny.json").write_text(json.dumps(numbers), encoding="utf-8")
    library.add_model_config(folder)
    torch.manual_seed(0)
    model = library.create_model("engine-test-tiny")
    torch.save(model.state_dict(), folder / "weights.pt")
    return {"arch": "engine-test-tiny", "weights": f"file:{folder / 'weights.pt'}"}


def transformers(folder: Path) -> dict[str, Any]:
    """A tiny CLIP of transformers with a tokenizer and a preprocessor."""
    import transformers as library
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {chr(code): number for number, code in enumerate(range(32, 127))}
    vocabulary |= {"<unk>": len(vocabulary), "<end>": len(vocabulary) + 1}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    library.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<end>", eos_token="<end>",
        model_max_length=16,
    ).save_pretrained(folder)  # fmt: skip
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    torch.manual_seed(0)
    config = library.CLIPConfig(
        projection_dim=12,
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 16,
                     "eos_token_id": len(vocabulary) - 1},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )  # fmt: skip
    library.CLIPModel(config).save_pretrained(folder)
    library.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return {"model": f"file:{folder}"}

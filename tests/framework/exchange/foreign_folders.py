"""Small models as their own libraries write them to a folder: the originals are the oracles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer

TEXTS = [
    "красный круг", "Жёлтый  Квадрат на поле и ещё много слов подряд до самого конца", "", "x",
    "A RED dog; don't", "смайлик 🙂 и 漢字", "  два   пробела ", "cafe\u0301 и caf\u00e9",
    "</s> <b>",
]  # fmt: skip
SIDE, PATCH, LONGEST = 16, 8, 12
_WORDS = ["красный круг", "жёлтый квадрат", "синий дом на поле", "a red dog and a blue house"] * 3
_VISION = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE,
    "patch_size": PATCH, "intermediate_size": 70,
}  # fmt: skip
BERT: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 50, "max_position_embeddings": LONGEST,
}  # fmt: skip


def shaken(model: torch.nn.Module) -> Any:
    """With no weight at a special value (biases are 0 and norms are 1 in a fresh model)."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise if parameter.dim() == 1 else 0.05 * noise)
    return model.eval()


def _trained(name: str, size: int) -> dict[str, Any]:
    """A vocabulary of Engine's own tokenizer plugin: `tokenizers`' JSON of it."""
    from engine.core.registry import default_registry

    plugin = default_registry().get("tokenizer", name)
    settings = plugin.load_settings().model_validate({"from": "scratch"})
    made = plugin.load().make(settings, lambda: _WORDS, size)
    found: dict[str, Any] = json.loads(made.to_bytes())["tokenizers"]
    return found


def clip_tokenizer() -> Any:
    """transformers' CLIPTokenizer over a small vocabulary."""
    model = _trained("clip_bpe", 700)["model"]
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {marks.get(token, token): i for token, i in model["vocab"].items()}
    merges = [tuple(pair) for pair in model["merges"]]
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LONGEST)


def bert_tokenizer(*, lower: bool = False) -> Any:
    """transformers' BertTokenizer over a small vocabulary."""
    vocabulary = _trained("wordpiece", 400)["model"]["vocab"]
    return transformers.BertTokenizer(
        vocab=vocabulary, do_lower_case=lower, model_max_length=LONGEST
    )


def clip_processor(**changes: Any) -> Any:
    return transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, **changes
    )


def clip(folder: Path, act: str = "quick_gelu", **vision: Any) -> Any:
    """``CLIPModel``, its tokenizer and processor."""
    tokenizer = clip_tokenizer()
    text = {
        "vocab_size": 700, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 50, "max_position_embeddings": LONGEST, "hidden_act": act,
        "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
    }  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**_VISION, "hidden_act": act, **vision}, projection_dim=20
    )
    return _written(shaken(transformers.CLIPModel(config)), tokenizer, folder)


def dual(folder: Path) -> Any:
    """``VisionTextDualEncoderModel`` of CLIP's vision tower and BERT with a working pooler."""
    config = transformers.VisionTextDualEncoderConfig(
        vision_config={"model_type": "clip_vision_model", **_VISION},
        text_config={"model_type": "bert", **BERT},
        projection_dim=20,
    )
    model = shaken(transformers.VisionTextDualEncoderModel(config))
    return _written(model, bert_tokenizer(lower=True), folder)


def chinese(folder: Path) -> Any:
    """``ChineseCLIPModel``: BERT's first token without a pooler."""
    config = transformers.ChineseCLIPConfig(
        text_config=BERT, vision_config=_VISION, projection_dim=20
    )
    return _written(shaken(transformers.ChineseCLIPModel(config)), bert_tokenizer(), folder)


def _written(model: Any, tokenizer: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    clip_processor().save_pretrained(folder)
    return model


OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 24, "head_width": 6,
                   "patch_size": PATCH},
    "text_cfg": {"context_length": LONGEST, "vocab_size": 49408, "width": 24, "heads": 4,
                 "layers": 2},
}  # fmt: skip


def openai(folder: Path, **changes: Any) -> Any:
    """open_clip's own, with OpenAI's vocabulary: as ``push_to_hf_hub`` writes it."""
    config = {**OPEN_CLIP, **changes}
    model = shaken(open_clip.CLIP(**config))
    model.visual.image_mean, model.visual.image_std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    model.visual.preprocess_cfg = {"interpolation": "bilinear", "resize_mode": "squash"}
    folder.mkdir(parents=True)
    save_file({n: t.contiguous().clone() for n, t in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    save_config_for_hf(model, folder / "open_clip_config.json", config)
    return model


def sentences(folder: Path, *, dense: bool, pooling: str = "mean", lower: bool = True) -> Any:
    """A sentence encoder of BERT, with a dense layer to the width 20 or without."""
    bert, inner = folder.with_name(f"{folder.name}-bert"), {**BERT, "hidden_size": 20}
    config = transformers.BertConfig(**(BERT if dense else inner))
    shaken(transformers.BertModel(config)).save_pretrained(bert)
    bert_tokenizer(lower=lower).save_pretrained(bert)
    first = models.Transformer(str(bert), max_seq_length=10)
    width = first.get_embedding_dimension()
    modules: list[Any] = [first, models.Pooling(width, pooling_mode=pooling)]
    if dense:
        modules.append(models.Dense(width, 20, bias=False,
                                    activation_function=torch.nn.Identity()))  # fmt: skip
    model = SentenceTransformer(modules=[*modules, models.Normalize()])
    shaken(model)
    model.save(str(folder))
    return model


def change(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; ``a__b`` is ``b`` inside of ``a``; ``None`` takes one out."""
    values = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        inner, *keys = values, *name.split("__")
        for key in keys[:-1]:
            inner = inner[key]
        if value is None:
            inner.pop(keys[-1])
        else:
            inner[keys[-1]] = value
    path.write_text(json.dumps(values), encoding="utf-8")


def unmarked(rows: Any, mask: Any) -> Iterator[list[int]]:
    """The ids of each text without padding."""
    for ids, seen in zip(rows.tolist(), mask.sum(dim=1).tolist(), strict=True):
        yield ids[:seen]


def backend(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))

"""sentence-transformers: what makes a folder of transformers one of that library.

========================== =====================================================================
``modules.json``           the model itself, and a step that gives every vector the length 1
``sentence_bert_config.json``  which of its methods texts and pictures go through
``config_sentence_transformers.json``  the measure of similarity
``1_Pooling``, ``2_Dense`` of a text encoder alone: how a text becomes one vector
========================== =====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engine.contracts.checkpoint_adapter import SentenceModel, TransformersModel
from engine.contracts.state import pad_tokens
from engine.errors import WeightsError
from engine.exchange.source import Source, Worst

_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
_POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
_DENSE = "sentence_transformers.base.modules.dense.Dense"


def write_sentences(source: Source, made: TransformersModel, folder: Path) -> dict[str, Any]:
    """Write the files beside a model of transformers, and hold ``encode`` to Engine's own.

    Returns:
        What the manifest says of it.

    Raises:
        WeightsError: sentence-transformers computes something else.
    """
    features = {"method_output_name": "pooler_output"}
    config: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "get_text_features", **features},
            "image": {"method": "get_image_features", **features},
        },
        "module_output_name": "sentence_embedding",
    }
    if made.fill is not None:
        config["processing_kwargs"] = {"text": {"padding": "max_length"}}
    _write_json(folder / "sentence_bert_config.json", config)
    _write_modules(folder, [_TRANSFORMER, _NORMALIZE])
    return {"modalities": ["text", "image"], **_checked(source, folder)}


def write_encoder(source: Source, made: SentenceModel, tokenizer: Any, folder: Path) -> Any:
    """Write a text encoder alone: transformer, pooling, perhaps a dense layer.

    Returns:
        What the manifest says of it.

    Raises:
        WeightsError: sentence-transformers computes something else.
    """
    import transformers
    from safetensors.torch import save_file

    described = dict(made.config)
    described.pop("model_type", None)
    config = getattr(transformers, f"{made.name}Config")(**described)
    config.architectures = [f"{made.name}Model"]
    config.save_pretrained(folder)
    tensors = {name: tensor.clone().contiguous() for name, tensor in made.tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    longest = source.text_settings.max_tokens
    _write_json(folder / "sentence_bert_config.json",
                {"max_seq_length": longest, "do_lower_case": False})  # fmt: skip
    width = source.built.model.text.width
    kinds = [_TRANSFORMER, _POOLING]
    pooling = {"embedding_dimension": width, "pooling_mode": made.pooling, "include_prompt": True}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    if made.weight is not None:
        kinds.append(_DENSE)
        dense = {"linear.weight": made.weight.clone()}
        if made.bias is not None:
            dense["linear.bias"] = made.bias.clone()
        about = {
            "in_features": width,
            "out_features": len(made.weight),
            "bias": made.bias is not None,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        _write_json(folder / "2_Dense" / "config.json", about)
        save_file(dense, folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
    _write_modules(folder, [*kinds, _NORMALIZE])
    return {"modalities": ["text"], **_checked(source, folder)}


def _write_modules(folder: Path, kinds: Sequence[str]) -> None:
    """``modules.json``: each module in a folder after its place and name, the first in this one."""
    import sentence_transformers

    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind.rpartition('.')[2]}" if i else "",
         "type": kind}
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    for module in modules[1:]:
        (folder / str(module["path"])).mkdir(exist_ok=True)
    _write_json(folder / "modules.json", modules)
    about = {
        "__version__": {"sentence_transformers": sentence_transformers.__version__},
        "similarity_fn_name": "cosine",
    }
    _write_json(folder / "config_sentence_transformers.json", about)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _checked(source: Source, folder: Path) -> dict[str, Any]:
    import sentence_transformers

    version = sentence_transformers.__version__
    return {"sentence_transformers": version, "encode": _check(source, folder)}


def _check(source: Source, folder: Path) -> dict[str, Any]:
    """Load the folder and hold its ``encode`` to the model's own texts and a picture."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    built, texts = source.built, Worst("sentence-transformers' text encoder")
    tried = _agreeing(source, loaded.tokenizer)
    found = loaded.encode(tried, convert_to_tensor=True, show_progress_bar=False)
    rows = built.tokenizer.encode(tried, source.text_settings.max_tokens)
    batch = pad_tokens(rows, built.tokenizer.pad_id)
    with torch.no_grad():
        expected = built.model.encode_text(batch["ids"], batch["mask"])
    texts.compare(found, expected, (len(tried),))
    return {"texts": texts.to_json()}


def _agreeing(source: Source, tokenizer: Any) -> list[str]:
    """The source's texts whose ids are Engine's: the others are listed in the manifest."""
    rows = tokenizer(list(source.texts), truncation=True)["input_ids"]
    pairs = zip(source.texts, source.rows, rows, strict=True)
    found = [text for text, expected, row in pairs if list(expected) == list(row) and text.strip()]
    if not found:
        raise WeightsError(
            "the tokenizer of this model has no form in transformers that gives its ids",
            hint="`engine.load(...).as_sentence_transformer()` uses Engine's own, in memory",
        )
    return found

"""sentence-transformers: what makes a folder of transformers one of that library.

========================== =====================================================================
``modules.json``           the model itself, and a step that gives every vector the length 1
``sentence_bert_config.json``  which of its methods texts and pictures go through
``config_sentence_transformers.json``  the measure of similarity
========================== =====================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from engine.contracts.checkpoint_adapter import TransformersModel
from engine.contracts.state import pad_tokens
from engine.errors import WeightsError
from engine.exchange.source import Source, Worst

_NORMALIZE = "1_Normalize"
_MODULES = (
    ("", "sentence_transformers.base.modules.transformer.Transformer"),
    (_NORMALIZE, "sentence_transformers.base.modules.normalize.Normalize"),
)


def write_sentences(source: Source, made: TransformersModel, folder: Path) -> dict[str, Any]:
    """Write the files beside a model of transformers, and hold ``encode`` to Engine's own.

    Returns:
        What the manifest says of it.

    Raises:
        WeightsError: sentence-transformers computes something else.
    """
    import sentence_transformers

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
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(_MODULES)
    ]
    about = {
        "__version__": {"sentence_transformers": sentence_transformers.__version__},
        "similarity_fn_name": "cosine",
    }
    (folder / _NORMALIZE).mkdir()
    for name, value in (
        ("modules.json", modules),
        ("sentence_bert_config.json", config),
        ("config_sentence_transformers.json", about),
    ):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return {
        "sentence_transformers": sentence_transformers.__version__,
        "modalities": ["text", "image"],
        "encode": _check(source, folder),
    }


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

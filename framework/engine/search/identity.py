"""Which model an index was made with: vectors of two models have nothing in common."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DataError
from engine.search.catalogue import Catalogue

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor


def identity_of(predictor: Predictor) -> str:
    """What the vectors of a model follow from: its weights, config and tokenizer.

    Returns:
        64 hexadecimal digits.
    """
    files = predictor.manifest.get("files")
    if files and predictor.backend == "onnxruntime":
        # In float32 an export gives the vectors of its artifact; in int8 it has its own.
        names = [] if predictor.manifest.get("int8") else predictor.manifest.get("artifact") or []
        about = dict(names) or {n: files[n]["sha256"] for n in files if ".onnx" in n}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    if files:
        names = ("model.safetensors", "config.yaml", "tokenizer.json")
        about = {name: files[name]["sha256"] for name in names if name in files}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    digest = hashlib.sha256()
    for name, tensor in sorted(predictor.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_model(catalogue: Catalogue, predictor: Predictor, folder: Path) -> None:
    """Refuse another model than that of the index.

    Raises:
        DataError: names both.
    """
    kept = catalogue.about("identity")
    if kept and kept != identity_of(predictor):
        raise DataError(
            f"{folder} was made with another model, `{catalogue.about('name')}`; this one is"
            f" `{predictor.config.name}`, and their vectors cannot be compared",
            hint="name the model that made it with `-m`, or make another index with `-o`",
        )


def keep_model(
    catalogue: Catalogue, predictor: Predictor, model: Path | None, reduced: bool
) -> None:
    """Write down the model, so that a search finds it."""
    facts = {
        "identity": identity_of(predictor),
        "name": predictor.config.name,
        "width": str(predictor.model.embed_dim),
        "reduced": str(int(reduced)),
    }
    if model is not None:
        facts["model"] = os.fsencode(model.absolute()).hex()
    for key, value in facts.items():
        if catalogue.about(key) != value:
            catalogue.tell(key, value)


def model_of(catalogue: Catalogue) -> Path | None:
    """Where the model of an index was loaded from; ``None`` where that is not known."""
    kept = catalogue.about("model")
    return Path(os.fsdecode(bytes.fromhex(kept))) if kept else None

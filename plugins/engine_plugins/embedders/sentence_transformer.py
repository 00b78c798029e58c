"""Any model of the library sentence-transformers.

Source: Reimers and Gurevych, "Sentence-BERT", 2019; the library ``sentence-transformers``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts import Arrays, Embedder
from engine.core.devices import find_device
from engine.core.sources import UnreachableError, find_source, local_path
from engine.errors import ArtifactError, DataError, WeightsError
from engine_plugins.embedders.settings import SentenceTransformerSettings

MODULES = "modules.json"
"""What a folder of sentence-transformers says of itself; a plain encoder has none."""

PROBE = ("a red fox in the snow", "красная лиса на снегу", "12")
"""Texts whose vectors tell a model from another one of its name."""

_WANTED = (MODULES, "config.json")
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model.bin")
_PASSED_OVER = ("onnx/*", "openvino/*")


class SentenceTransformer(Embedder):
    """See :class:`SentenceTransformerSettings`. A text of white space alone is the vector 0.

    No code comes with a model: remote code is refused, and so is a ``modules.json`` that names
    classes outside of the library. Weights are safetensors, or torch files that the library reads
    with ``weights_only``.
    """

    settings: SentenceTransformerSettings

    def __init__(self, settings: SentenceTransformerSettings) -> None:
        super().__init__(settings)
        folder = find_folder(settings.model)
        check_modules(folder)
        self._model = _load(folder, settings)
        self.width = len(self._encode([PROBE[0]])[0])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.width), np.float32)
        known = [i for i, text in enumerate(texts) if text.strip()]
        if known:
            vectors[known] = self._encode([texts[i] for i in known])
        return vectors

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The library's own: sorts by length, and pads a batch to its longest."""
        vectors = self._model.encode(
            [self.settings.prompt + whole_text(text) for text in texts],
            batch_size=self.settings.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
            prompt="",
        )
        return np.asarray(vectors, np.float32)

    def arrays(self) -> Arrays:
        return {"probe": self.embed(PROBE)}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        probe = arrays.get("probe")
        if set(arrays) != {"probe"} or probe is None or probe.dtype != np.float32:
            raise ArtifactError("embedder `sentence_transformer`: expected one array, `probe`")
        own = self.embed(PROBE)
        # Another processor, library or dtype changes the fourth decimal, another model the first.
        if probe.shape != own.shape or not np.allclose(probe, own, atol=0.01):
            raise ArtifactError(
                f"embedder `sentence_transformer`: {self.settings.model} is not the model that the"
                " clusters were made with: it gives other vectors",
                hint="bring back the model that was there, or fit the clusters again",
            )


def whole_text(text: str) -> str:
    """The text with lone halves of surrogate pairs, which the library refuses, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def find_folder(model: str) -> Path:
    """The local folder of a model, fetched from the hub where needed.

    Raises:
        UnreachableError: not there, or not from here.
        WeightsError: there, and no model.
    """
    found = find_source(model, _WANTED)
    path = local_path(model)
    if path is not None:
        folder = next(iter(found.values())).parent
        if not path.expanduser().is_dir():
            raise WeightsError(f"{model} is a file", hint="name the folder of a model")
        return folder
    return _of_hub(model.partition(":")[2])


def _of_hub(rest: str) -> Path:
    """The repository's files in the hub's cache. ``find_source`` found it to be reachable."""
    import huggingface_hub

    repository, _, revision = rest.partition("@")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=list(_FILES),
                ignore_patterns=list(_PASSED_OVER),
            )
        )
    except Exception as error:  # whatever the hub's client and the HTTP library under it raise
        raise UnreachableError(
            f"hf:{rest} cannot be fetched whole ({type(error).__name__}: {error})",
            hint=f"on a machine with network, `hf download {repository} --local-dir FOLDER` gets"
            " it; then write `file:FOLDER`",
        ) from error


def check_modules(folder: Path) -> None:
    """Refuse a model whose ``modules.json`` names classes that are not the library's own.

    Raises:
        WeightsError: it does, or it cannot be read.
    """
    path = folder / MODULES
    if not path.is_file():
        return  # a plain encoder: the library puts mean pooling after it
    try:
        types = [str(module["type"]) for module in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    strange = [name for name in types if not name.startswith("sentence_transformers.")]
    if strange:
        raise WeightsError(
            f"{path} names the class `{strange[0]}`, which is not the library's own; refused",
            hint="a model here is weights and settings, never code",
        )


def _load(folder: Path, settings: SentenceTransformerSettings) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns after a fork
    import sentence_transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # it lasts milliseconds and would break our own bar
    safe = any((folder / name).is_file() for name in _safetensors(folder))
    try:
        model = sentence_transformers.SentenceTransformer(
            str(folder),
            device=str(find_device(settings.device)),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True} if safe else {},
        ).eval()
    except DataError:  # there is no such device here
        raise
    except Exception as error:  # any of the library's many ways to fail on a broken folder
        lines = str(error).splitlines() or [""]
        raise WeightsError(
            f"{settings.model} cannot be used: {type(error).__name__}: {lines[0]}",
            hint=f"its folder is {folder}",
        ) from error
    model.max_seq_length = min(settings.max_tokens, model.max_seq_length or settings.max_tokens)
    return model


def _safetensors(folder: Path) -> list[str]:
    names = ("model.safetensors", "model.safetensors.index.json")
    return [f"{home}{name}" for home in ("", "0_Transformer/") for name in names]

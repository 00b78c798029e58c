"""Any model of the library sentence-transformers.

Source: Reimers and Gurevych, "Sentence-BERT", 2019; the library ``sentence-transformers``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts import Arrays, Embedder
from engine.contracts.teacher import bare_piece
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
_CALL = 64
"""Tokens that run through a small model in the time that a call of it takes more."""


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
        self.device = self._model.device
        self.width = len(self._encode([PROBE[0]])[0])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as [N, W] float32."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        known = [i for i, text in enumerate(texts) if text.strip()]
        if known:
            vectors[known] = self._encode([texts[i] for i in known])
        return vectors

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The library's own, batch by batch of texts with about as many tokens."""
        whole = [self.settings.prompt + whole_text(text) for text in texts]
        vectors = np.empty((len(whole), 0), np.float32)
        for rows in batches_of_like_length(self._lengths(whole), self.settings.batch_size):
            found = self._model.encode(
                [whole[row] for row in rows],
                batch_size=len(rows),
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
                prompt="",
            )
            if not vectors.shape[1]:
                vectors = np.empty((len(whole), found.shape[1]), np.float32)
            vectors[rows] = found
        return vectors

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; letters, where the model has no tokenizer of transformers."""
        tokenizer = self._fast_tokenizer()
        if tokenizer is None:
            return [len(text) for text in texts]
        own = tokenizer(
            list(texts), padding=False, truncation=True, max_length=self._model.max_seq_length,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip
        return [len(ids) for ids in own["input_ids"]]

    def embed_pieces(self, pieces: Sequence[str]) -> NDArray[np.float32]:
        """[N] pieces of a vocabulary -> [N, hidden width]: the mean of the last hidden states.

        A piece of the model's own vocabulary is read as its id between the model's marks.

        Raises:
            WeightsError: the model has no tokenizer of transformers.
        """
        tokenizer = self._fast_tokenizer()
        if tokenizer is None:
            raise WeightsError(
                f"{self.settings.model} has no tokenizer of transformers that reads single pieces"
            )
        known = tokenizer.get_vocab()
        begin, end = _marks(tokenizer)
        rows = [
            [*begin, known[piece], *end] if piece in known
            else tokenizer(bare_piece(piece), truncation=True, max_length=64)["input_ids"]
            for piece in pieces
        ]  # fmt: skip
        order, found = [], []
        for some in batches_of_like_length(list(map(len, rows)), self.settings.batch_size):
            order += some
            found.append(self._means([rows[i] for i in some], tokenizer.pad_token_id or 0))
        return np.concatenate(found)[np.argsort(order)]

    def _means(self, rows: Sequence[Sequence[int]], pad: int) -> NDArray[np.float32]:
        """The mean of the first module's token embeddings."""
        import torch

        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        device = self.device
        features = {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}
        with torch.inference_mode():
            hidden = self._model[0](features)["token_embeddings"].float()
            counted = mask.to(device)[..., None].float()
            means = (hidden * counted).sum(dim=1) / counted.sum(dim=1)
        return np.asarray(means.cpu().numpy(), np.float32)

    def _fast_tokenizer(self) -> Any:
        """The tokenizer of transformers, where the model has one that is fast."""
        tokenizer = getattr(self._model, "tokenizer", None)
        return tokenizer if getattr(tokenizer, "is_fast", False) else None

    def arrays(self) -> Arrays:
        """The fitted arrays by name, as they are stored beside the weights."""
        return {"probe": self.embed(PROBE)}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up the arrays that :meth:`arrays` gave."""
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


def _marks(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and after a text."""
    empty = tokenizer("")["input_ids"]
    some = tokenizer("a")["input_ids"]
    begin = 0
    while begin < len(empty) and begin < len(some) and empty[begin] == some[begin]:
        begin += 1
    return empty[:begin], empty[begin:]


def batches_of_like_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """The places of texts, at most ``size`` at once, the shortest first.

    A batch ends where padding its texts to the next one's length would cost more than a call of the
    model does, measured with all-MiniLM-L6-v2 on a processor.

    Args:
        lengths: of the texts, in tokens.
        size: texts of a batch at most.
    """
    order = np.argsort(np.asarray(lengths), kind="stable").tolist()
    batch: list[int] = []
    for place in order:
        padding = len(batch) * (lengths[place] - lengths[batch[0]]) if batch else 0
        if len(batch) == size or padding > _CALL:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


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

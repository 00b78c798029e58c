"""An ONNX export answers in the place of the model that it came from, through onnxruntime.

Both towers become one step each: the file's embeddings are the tower's features, and the projection
hands them on. Everything else (templates, tokenizer, preprocessing, checks) is the model's own.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.contracts.projection import Projection
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.state import Segment, State
from engine.contracts.tower import TextEncoder, VisionTower
from engine.core import artifact
from engine.core.build import Built, check_tokenizer
from engine.core.config import load_config
from engine.core.making import empty_model
from engine.core.model import DualEncoder
from engine.core.model_path import model_folder
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.errors import ArtifactError
from engine.exchange.exported import CONFIG, TOKENIZER, identity_of, is_export, read_onnx_export
from engine.exchange.packages import need

RUNTIME = ("onnxruntime",)


class _Session:
    """A file that onnxruntime runs, with as many threads as PyTorch has now."""

    def __init__(self, path: Path) -> None:
        onnxruntime: Any = importlib.import_module("onnxruntime")  # optional, and without types
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for every trouble
            reason = str(error).strip().splitlines()[0][:300]
            raise ArtifactError(
                f"{path} cannot be loaded by onnxruntime: {reason}",
                hint="export the model again with this onnxruntime",
            ) from error

    def run(self, names: list[str], feed: Mapping[str, Tensor]) -> list[Tensor]:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in feed.items()}
        return [torch.from_numpy(each) for each in self._session.run(names, arrays)]


class _Images(VisionTower):
    """``pixels`` -> ``pooled`` [B, J], rows of length 1."""

    def __init__(self, model: DualEncoder, session: _Session, digest: str) -> None:
        super().__init__(model.vision.settings)
        self.preprocess, self.width = model.vision.preprocess, model.embed_dim
        self._session = session
        self.register_buffer("digest", _bytes(digest))

    def segments(self) -> list[Segment]:
        return [Segment("stem", ())]

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        if start >= stop:
            return state
        (rows,) = self._session.run(["image_embeds"], {"pixels": state["pixels"].float()})
        return {"pooled": rows}


class _Texts(TextEncoder):
    """``ids``, ``mask`` -> ``pooled`` [B, J].

    Rows are as long as the model makes them where the file says how long that is, else of length 1.
    """

    def __init__(
        self, model: DualEncoder, session: _Session, outputs: list[str], digest: str
    ) -> None:
        super().__init__(model.text.settings)
        self.width = self.embedding_width = model.embed_dim
        self._session, self._outputs = session, outputs
        self.register_buffer("digest", _bytes(digest))

    def segments(self) -> list[Segment]:
        return [Segment("stem", ())]

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        if start >= stop:
            return state
        feed = {name: state[name] for name in ("ids", "mask")}
        rows, *lengths = self._session.run(self._outputs, feed)
        return {"pooled": rows * lengths[0][:, None] if lengths else rows}

    def embed(self, ids: Tensor) -> Tensor:
        raise ArtifactError(
            "an export gives embeddings of whole texts, not of tokens",
            hint="load the artifact that it came from",
        )


class _Through(Projection):
    """Features that are embeddings already."""

    def __init__(self, width: int) -> None:
        super().__init__(ProjectionSettings(), width, width)

    def project(self, features: Tensor) -> Tensor:
        return features


def _bytes(digest: str) -> Tensor:
    """Names the tower's weights in its state dict, for caches that are named by that."""
    return torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8)


def read_exported(folder: Path, registry: Registry | None = None) -> Built:
    """Read an ONNX export, ready to answer as the model that it came from.

    Args:
        folder: of ``engine export --to onnx``, in float32 or int8; every byte of it is checked.
        registry: the plugins; by default everything installed.

    Returns:
        A model that computes on the CPU through onnxruntime, with as many threads as PyTorch has at
        this moment. It has no weights in PyTorch: it cannot be trained, moved or saved.

    Raises:
        PluginError: onnxruntime is not installed; tells the command that installs it.
        ArtifactError: not such an export, changed since it was written, or onnxruntime refuses it.
        ConfigError: it uses plugins that are not installed here.
    """
    need(RUNTIME, "onnx", "this backend")
    registry = registry or default_registry()
    manifest = read_onnx_export(folder)
    config = load_config(folder / CONFIG, registry=registry)
    settings = config.model.text.settings
    tokenizer = settings.tokenizer.target().from_bytes(
        settings.tokenizer.settings, (folder / TOKENIZER).read_bytes()
    )
    shape = empty_model(config)
    files, vision, text = manifest["files"], manifest["vision"], manifest["text"]
    images = _Images(shape, _Session(folder / vision["file"]), files[vision["file"]]["sha256"])
    texts = _Texts(
        shape, _Session(folder / text["file"]), text["outputs"], files[text["file"]]["sha256"]
    )
    width = shape.embed_dim
    model = DualEncoder(
        images, texts, _Through(width), _Through(width),
        manifest["logit_scale"], manifest["logit_bias"],
    )  # fmt: skip
    return Built(config, model.eval(), check_tokenizer(tokenizer, config), manifest)


def exported_beside(path: Path, progress: Progress = silent) -> Path:
    """The ONNX export of a path: itself, or that of an artifact, made where it is not there yet.

    An artifact's export lies beside it (``ARTIFACT-onnx``, where ``engine export --to onnx`` writes
    too). It is made again after the artifact was changed.

    Args:
        path: an export, an artifact, or a training run.
        progress: receives lines of progress.

    Raises:
        PluginError: a package is missing; tells the command that installs it.
        ArtifactError: it is neither, or what lies in that place is not an export of it.
        WeightsError: see ``engine.exchange.onnx.export_onnx``.
    """
    if is_export(path):
        return path
    need(RUNTIME, "onnx", "this backend")
    source = model_folder(path).absolute()
    wanted = identity_of(artifact.read_manifest(source, verify=False))
    beside = source.with_name(f"{source.name}-onnx")
    if is_export(beside):
        with contextlib.suppress(ArtifactError):
            if read_onnx_export(beside, verify=False).get("artifact") == wanted:
                return beside
    from engine.exchange.onnx import export_onnx

    progress(f"{source.name} as ONNX, once")
    export_onnx(source, beside, progress)
    return beside

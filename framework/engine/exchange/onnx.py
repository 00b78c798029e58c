"""ONNX: both towers as files that onnxruntime runs without torch or Engine.

====================== ===========================================================================
``vision.onnx``        ``pixels`` [B, 3, S, S] float32 -> ``image_embeds`` [B, J] float32
``text.onnx``          ``ids`` [B, L] int64, ``mask`` [B, L] bool -> ``text_embeds`` [B, J] float32
``tokenizer.json``     for the library `tokenizers` (see ``engine.exchange.tokenizer``)
``preprocess.json``    how a picture becomes pixels, and ``preprocess.py``, which does it
``pictures.zip``       Engine's reader of pictures, for these programs
``engine_config.yaml``   the config, and ``engine_tokenizer.bin``, the tokenizer, for
                       ``engine.load``, which runs this folder as it runs an artifact
``export.json``        inputs and outputs, scale, templates, differences measured, sha256 of files
``README.md``          how to use them, with a program that does
====================== ===========================================================================

Rows of the embeddings have length 1. B and L are free; L at most the text encoder's ``max_tokens``.
Where the config takes the mean over templates of raw vectors (``zero_shot.average: raw``), the text
file has a second output ``text_lengths`` [B] float32, the length of each vector before.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.core.config import dump_config
from engine.core.files import disk_trouble
from engine.core.model import DualEncoder
from engine.core.progress import Progress, silent
from engine.errors import WeightsError
from engine.exchange.calibration import picture_feeds, text_feeds
from engine.exchange.exported import CONFIG, TOKENIZER
from engine.exchange.folder import check_target, seal, writing
from engine.exchange.int8 import Gate, quantise
from engine.exchange.packages import ONNX, need
from engine.exchange.preparation import portable, write_preparation
from engine.exchange.program import PROGRAM, program
from engine.exchange.readme import onnx_readme
from engine.exchange.source import Source, Worst, read_source
from engine.exchange.tokenizer import standalone

_MAX_IN_ONE_FILE = 1_900_000_000
"""Bytes; a protobuf message cannot pass 2 GiB. Larger weights go to a file beside it."""

Example = Mapping[str, Tensor]
"""Named inputs of a tower."""


@dataclass(frozen=True)
class OnnxTower:
    """One tower of a model, with its projection, as an ONNX file.

    Attributes:
        file: its name.
        outputs: names of its outputs: the embedding, and for some its length before.
        axes: the free axes of every input, by number.
        module: computes the outputs from the inputs, in the order of ``axes``.
    """

    file: str
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]]
    module: nn.Module


class _Images(nn.Module):
    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (self.model.encode_image(pixels),)


class _Texts(nn.Module):
    def __init__(self, model: DualEncoder, *, lengths: bool) -> None:
        super().__init__()
        self.model, self.lengths = model, lengths

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        embedding = self.model.text_state({"ids": ids, "mask": mask})["embedding"]
        unit = functional.normalize(embedding, dim=-1)
        return (unit, embedding.norm(dim=-1)) if self.lengths else (unit,)


@dataclass(frozen=True)
class Int8:
    """An export with int8 matrices (see ``engine.exchange.int8``).

    Attributes:
        per_channel: one scale for each column of a matrix, else one for all of it.
        gate: what the float32 tower's embeddings must keep.
        texts: the calibration set's texts; ``None``: made up.
        pictures: a folder with the calibration set's pictures; ``None``: made up.
    """

    per_channel: bool = True
    gate: Gate = field(default_factory=Gate)
    texts: Sequence[str] | None = None
    pictures: Path | None = None


def export_onnx(
    artifact: Path, folder: Path, progress: Progress = silent, *, int8: Int8 | None = None
) -> dict[str, Any]:
    """Export an artifact as ONNX files.

    Both files are run by onnxruntime before the folder takes its place: several batch sizes and
    lengths, with padding and without, every number within ``TOLERANCE`` of the model's.

    Args:
        artifact: the artifact's folder.
        folder: where the export goes; an earlier export there is replaced.
        progress: receives lines of progress.
        int8: with int8 matrices; ``None``: float32.

    Returns:
        The manifest, as in ``export.json``.

    Raises:
        PluginError: a package is missing; tells the command that installs it. Or the vision tower's
            own preprocessing cannot be written as a program.
        ArtifactError: no artifact, or ``folder`` is not ours to replace.
        WeightsError: a tower cannot be exported, or its file computes something else; int8 is too
            far from float32.
    """
    need(ONNX, "onnx")
    check_target(folder)
    progress(f"reading {artifact}")
    return write_onnx(read_source(artifact), folder, progress, int8=int8)


def write_onnx(
    source: Source, folder: Path, progress: Progress = silent, *, int8: Int8 | None = None
) -> dict[str, Any]:
    """:func:`export_onnx` of a model in memory."""
    model = source.built.model
    preprocess = portable(model.vision.preprocess)
    pixels = {"pixels": {0: "batch"}}
    tokens = {name: {0: "batch", 1: "length"} for name in ("ids", "mask")}
    raw = source.built.config.zero_shot.average == "raw"
    outputs = ("text_embeds", "text_lengths") if raw else ("text_embeds",)
    vision = OnnxTower("vision.onnx", ("image_embeds",), pixels, _Images(model).eval())
    text = OnnxTower("text.onnx", outputs, tokens, _Texts(model, lengths=raw).eval())
    images = ({"pixels": batch} for batch in source.images())
    texts = ({"ids": ids, "mask": mask} for ids, mask in source.batches())
    with writing(folder) as temporary, torch.no_grad():
        progress("vision.onnx")
        write_tower(vision, {"pixels": _example_pixels(source)}, temporary)
        progress("text.onnx")
        write_tower(text, _example_tokens(source), temporary)
        progress("comparing with onnxruntime")
        checks = {
            "vision": check_tower(vision, images, temporary),
            "text": check_tower(text, texts, temporary),
        }
        manifest = _describe(source, vision, text, checks)
        if int8 is not None:
            manifest["int8"] = _quantise(source, int8, temporary, progress)
        (temporary / CONFIG).write_text(dump_config(source.built.config), encoding="utf-8")
        (temporary / TOKENIZER).write_bytes(source.built.tokenizer.to_bytes())
        tokenizer, manifest["tokenizer"] = standalone(source)
        (temporary / "tokenizer.json").write_bytes(tokenizer)
        write_preparation(preprocess, temporary)
        (temporary / PROGRAM).write_text(program(manifest), encoding="utf-8")
        readme = onnx_readme(manifest, preprocess.size)
        (temporary / "README.md").write_text(readme, encoding="utf-8")
        return seal(temporary, manifest)


def _quantise(source: Source, wanted: Int8, folder: Path, progress: Progress) -> dict[str, Any]:
    feeds = {
        "vision": picture_feeds(source, wanted.pictures),
        "text": text_feeds(source, wanted.texts),
    }
    found = {}
    for tower, batches in feeds.items():
        progress(f"{tower}.onnx in int8")
        with _quiet():  # onnxruntime's tools give advice at every call
            found[tower] = quantise(
                folder / f"{tower}.onnx", batches, per_channel=wanted.per_channel, gate=wanted.gate
            )
    if not any(each["layers"] for each in found.values()):
        raise WeightsError(
            f"{source.built.config.name} has no product with a stored matrix, so int8 would change"
            " nothing; nothing was written",
            hint="export without `--int8`",
        )
    return found


def _describe(
    source: Source, vision: OnnxTower, text: OnnxTower, checks: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    size = source.built.model.vision.preprocess.size
    return {
        "to": "onnx",
        **source.story(),
        "vision": {
            "file": vision.file,
            "inputs": {"pixels": {"shape": ["batch", 3, size, size], "dtype": "float32"}},
            "outputs": list(vision.outputs),
            "check": checks["vision"],
        },
        "text": {
            "file": text.file,
            "inputs": {
                "ids": {"shape": ["batch", "length"], "dtype": "int64"},
                "mask": {"shape": ["batch", "length"], "dtype": "bool"},
            },
            "outputs": list(text.outputs),
            "max_tokens": source.text_settings.max_tokens,
            "pad_id": source.built.tokenizer.pad_id,
            "check": checks["text"],
        },
    }


def _example_pixels(source: Source) -> Tensor:
    size = source.built.model.vision.preprocess.size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(3))


def _example_tokens(source: Source) -> dict[str, Tensor]:
    """Three rows, each with padding, so that the traced graph keeps the branch for padding."""
    settings = source.text_settings
    length = min(7, settings.max_tokens)
    ids = torch.randint(
        settings.vocab_size, (3, length), generator=torch.Generator().manual_seed(4)
    )
    lengths = torch.tensor([[length - 1], [max(1, length // 2)], [1]])
    return {"ids": ids, "mask": torch.arange(length) < lengths}


def write_tower(tower: OnnxTower, example: Example, folder: Path) -> None:
    """Write one tower's file.

    Raises:
        WeightsError: torch's exporter cannot follow it, or has no ONNX operator for a step.
    """
    program = _capture(tower, example)
    with _quiet(), _explained(tower.file, "has no ONNX form"):
        exported: Any = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(tower.axes),
            output_names=list(tower.outputs),
            dynamic_shapes=dict(tower.axes),
        )
        for node in exported.model.graph.all_nodes():
            _name_by_module(node)
            node.metadata_props.clear()  # where each step stands in whose source file
        weights = sum(t.numel() * t.element_size() for t in program.state_dict.values())
        exported.save(folder / tower.file, external_data=weights > _MAX_IN_ONE_FILE)


def _name_by_module(node: Any) -> None:
    """Put the module that a step belongs to before its name: ``text.blocks.0/node_MatMul_7``."""
    with contextlib.suppress(ValueError, SyntaxError, TypeError):
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        inside = [scope for scope in scopes if str(scope).startswith("model.")]
        if inside and node.name:
            node.name = f"{inside[-1].removeprefix('model.')}/{node.name}"


def _capture(tower: OnnxTower, example: Example) -> torch.export.ExportedProgram:
    """A tower's graph.

    Three ways, the quickest first. Without strict mode Python itself runs the tower, which fails
    where a free axis becomes a number (``len(x)``); strict mode reads the tower's bytecode. The
    draft takes a question about the data (is there any padding?) to be answered as in the example.
    Whether that was right, the comparison says.
    """
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {name: dict.fromkeys(axes, dynamic) for name, axes in tower.axes.items()}
    arguments = tuple(example[name] for name in tower.axes)
    ways: Sequence[Callable[[], torch.export.ExportedProgram]] = (
        lambda: torch.export.export(tower.module, arguments, dynamic_shapes=shapes, strict=False),
        lambda: torch.export.export(tower.module, arguments, dynamic_shapes=shapes, strict=True),
        lambda: torch.export.draft_export(
            tower.module, arguments, dynamic_shapes=shapes, strict=True
        ),
    )
    failures = []
    for way in ways:
        try:
            with _quiet():
                return way()
        except Exception as error:  # a plugin's code: it may raise anything
            if disk_trouble(error):
                raise
            failures.append(error)
    with _explained(tower.file, "cannot be followed by torch's exporter"):
        raise failures[1]  # strict mode's names the line


@contextlib.contextmanager
def _explained(file: str, what: str) -> Iterator[None]:
    """Turn whatever torch raises into one readable error."""
    try:
        yield
    except Exception as error:
        if disk_trouble(error):
            raise  # not the tower's fault
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = next((line for line in lines if line.startswith("Caused by:")), "")
        reason = " ".join([*lines[:1], cause]).strip()
        raise WeightsError(
            f"{file}: a part of this tower {what} ({type(error).__name__}: {reason[:500]})",
            hint="a part that branches on its data, or changes its shapes by it, has no fixed"
            " graph: where torch.compiler.is_exporting(), it must take a form that has one",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch prints, warns and logs while it tries from the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_tower(tower: OnnxTower, batches: Iterable[Example], folder: Path) -> dict[str, Any]:
    """Run a written file with onnxruntime and hold it to the model.

    Returns:
        For the manifest: the largest difference, what is allowed, and the number of batches.

    Raises:
        WeightsError: onnxruntime cannot run it, or the numbers differ.
    """
    onnxruntime: Any = importlib.import_module("onnxruntime")  # optional, and without types
    worst = Worst(tower.file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    with _explained(tower.file, "cannot be loaded by onnxruntime"):
        session = onnxruntime.InferenceSession(
            str(folder / tower.file), options, providers=["CPUExecutionProvider"]
        )
    for batch in batches:
        shape = next(iter(batch.values())).shape
        expected = tower.module(*(batch[name] for name in tower.axes))
        with _explained(tower.file, f"does not run on an input of shape {tuple(shape)}"):
            feed = {name: tensor.numpy() for name, tensor in batch.items()}
            found = [torch.from_numpy(each) for each in session.run(list(tower.outputs), feed)]
        worst.compare(found[0], expected[0], shape)
        for length, wanted in zip(found[1:], expected[1:], strict=True):
            worst.compare(length / wanted, torch.ones_like(wanted), shape)
    return worst.to_json()

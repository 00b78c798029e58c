"""int8: the matrices of an exported tower as whole numbers, behind a gate of quality.

Every product of an input with a stored matrix (``MatMul``, ``Gemm``) becomes a product of 8-bit
numbers: the matrix is rounded once, by column or as a whole, the input at each run by its own
smallest and largest number (onnxruntime's dynamic quantisation). Products of two inputs, which are
attention's, and convolutions stay in float32. Processors with instructions for such products
(VNNI) run them several times as fast.

Rounding is not free, and on some models it is ruinous, without any error. So the result is compared
with the float32 file on a calibration set, and what is worse than :class:`Gate` allows is not
written: first the worst layers go back to float32, and where too many would have to, the export is
refused.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import WeightsError

Feed = Mapping[str, NDArray[Any]]
"""Named inputs of one run."""

Floats = NDArray[np.float32]

_LARGEST_MESSAGE = 1_900_000_000
"""Bytes: protobuf's limit is 2 GiB; larger weights lie in a file beside the graph."""


@dataclass(frozen=True)
class Gate:
    """What an int8 tower must keep of the float32 one, or it is not written.

    Attributes:
        cosine: smallest mean cosine between both embeddings of an input.
        agreement: smallest share of inputs whose nearest other input stays the same one.
        float_share: largest share of the matrices' numbers that may stay in float32.
    """

    cosine: float = 0.99
    agreement: float = 0.85
    float_share: float = 0.25


@dataclass(frozen=True)
class Layer:
    """A product with a stored matrix.

    Attributes:
        node: the name of the product in the graph.
        input: the name of what is multiplied.
        name: what a person calls it: the parameter, where the graph still knows it.
        weight: [in, out] the matrix.
        error: how far rounding moves the product, as a share of its length.
    """

    node: str
    input: str
    name: str
    weight: Floats
    error: float = math.nan


@dataclass(frozen=True)
class Fidelity:
    """An int8 tower beside the float32 one, on the calibration set."""

    cosine: float
    lowest_cosine: float
    agreement: float
    inputs: int

    def passes(self, gate: Gate) -> bool:
        """Whether it is good enough."""
        return self.cosine >= gate.cosine and self.agreement >= gate.agreement

    def __str__(self) -> str:
        return f"cosine {self.cosine:.5f}, nearest neighbours kept {self.agreement:.1%}"


def quantise(
    path: Path,
    feeds: Sequence[Feed],
    *,
    per_channel: bool = True,
    gate: Gate | None = None,
) -> dict[str, Any]:
    """Replace a tower's file by one with int8 matrices.

    Args:
        path: the float32 file; its first output is the embedding, rows of length 1.
        feeds: the calibration set in batches, 8 inputs at least in all.
        per_channel: one scale for each column of a matrix; else one for all of it.
        gate: what must be kept.

    Returns:
        For the manifest: the scheme, what was measured, layers that stayed in float32, bytes. A
        tower without such matrices is left as it is, and ``layers`` is 0.

    Raises:
        WeightsError: the gate does not let it pass; names the layers that rounding hurts most.
    """
    gate = gate or Gate()
    before = path.stat().st_size
    layers = sorted(_layers(path, feeds, per_channel), key=lambda each: -each.error)
    scheme = {"weights": "int8", "activations": "uint8, by their range at each run",
              "per_channel": per_channel, "gate": asdict(gate), "layers": len(layers)}  # fmt: skip
    if not layers:
        return {**scheme, "float_layers": [], "bytes": before, "float32_bytes": before}
    reference = embeddings(path, feeds)
    total, tries = sum(each.weight.size for each in layers), []
    for kept in _growing(layers):
        share = sum(each.weight.size for each in layers[:kept]) / total
        if share > gate.float_share:
            break
        target = path.with_name(f"int8-{kept}-{path.name}")
        _write(path, target, [each.node for each in layers[kept:]], per_channel)
        quality = quality_of(reference, embeddings(target, feeds))
        tries.append(quality)
        if quality.passes(gate):
            _replace(target, path)
            return {
                **scheme, **asdict(quality), "float_layers": [e.name for e in layers[:kept]],
                "float_share": share, "bytes": _bytes(path), "float32_bytes": before,
            }  # fmt: skip
        _remove(target)
    best = max(tries, key=lambda each: each.cosine)
    worst = ", ".join(f"{each.name} ({each.error:.1%})" for each in layers[:5])
    raise WeightsError(
        f"{path.name} in int8 is too far from the model: {best} (at least {gate.cosine} and"
        f" {gate.agreement:.0%} are asked for, with at most {gate.float_share:.0%} of the numbers"
        f" in float32); rounding hurts most in {worst}; nothing was written",
        hint="give a calibration set of your own data, or export without `--int8`"
        if per_channel
        else "leave out `--per-tensor`: one scale a column keeps far more",
    )


def _growing(layers: Sequence[Layer]) -> Iterator[int]:
    """0, 1, 2, 3, 4, 6, 8, 12, ...: how many of the worst layers stay in float32."""
    kept = 0
    while kept <= len(layers):
        yield kept
        kept += max(1, kept // 3)


def embeddings(path: Path, feeds: Sequence[Feed]) -> Floats:
    """The first output of a file for all inputs, [N, J] float32."""
    session = _session(path)
    name = session.get_outputs()[0].name
    return np.concatenate([session.run([name], dict(feed))[0] for feed in feeds])


def quality_of(reference: Floats, found: Floats) -> Fidelity:
    """Compare embeddings, rows of length 1, with those that they should be."""
    cosines = (reference * found).sum(axis=1)
    if not np.isfinite(cosines).all():
        return Fidelity(-1.0, -1.0, 0.0, len(cosines))
    same = _nearest(reference) == _nearest(found)
    return Fidelity(float(cosines.mean()), float(cosines.min()), float(same.mean()), len(cosines))


def _nearest(rows: Floats) -> NDArray[np.int64]:
    similar = rows @ rows.T
    np.fill_diagonal(similar, -2)  # below every cosine: a row is not its own neighbour
    return np.asarray(similar.argmax(axis=1), np.int64)


def _session(source: Path | bytes) -> Any:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    where = str(source) if isinstance(source, Path) else source
    return onnxruntime.InferenceSession(where, options, providers=["CPUExecutionProvider"])


def _layers(path: Path, feeds: Sequence[Feed], per_channel: bool) -> list[Layer]:
    """The products with stored matrices, each with the error that rounding makes there."""
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(str(path))
    stored = {each.name: each for each in model.graph.initializer}
    found = []
    for node in model.graph.node:
        matrix = stored.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if matrix is None or len(matrix.dims) != 2:
            continue
        weight = onnx.numpy_helper.to_array(matrix, str(path.parent)).astype(np.float32)
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        name = matrix.name if "." in matrix.name else node.name.partition("/")[0]
        weight = weight.T if turned else weight
        found.append(Layer(node.name, node.input[0], name, weight))
    if not found:
        return []
    seen = _inputs_of(model, path, {each.input for each in found}, feeds[0])
    return [
        Layer(each.node, each.input, each.name, each.weight,
              _error(seen[each.input], each.weight, per_channel))
        for each in found
    ]  # fmt: skip


def _inputs_of(model: Any, path: Path, names: set[str], feed: Feed) -> dict[str, Floats]:
    """What these products multiply in one run, in float32."""
    onnx: Any = importlib.import_module("onnx")
    outputs = {each.name for each in model.graph.output}
    for name in sorted(names - outputs):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    order = sorted(names)
    if path.stat().st_size < _LARGEST_MESSAGE and not _beside(path).exists():
        return dict(zip(order, _session(model.SerializeToString()).run(order, dict(feed)),
                        strict=True))  # fmt: skip
    probe = path.with_name(f"probe-{path.name}")
    onnx.save(model, str(probe), save_as_external_data=True, location=_beside(probe).name)
    try:
        return dict(zip(order, _session(probe).run(order, dict(feed)), strict=True))
    finally:
        _remove(probe)


def _error(inputs: Floats, weight: Floats, per_channel: bool) -> float:
    """||round(x) round(W) - x W|| / ||x W||, rounding as onnxruntime does."""
    rows = inputs.reshape(-1, inputs.shape[-1])[:2048]
    exact = rows @ weight
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    step = (high - low) / 255 or 1.0
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(rows / step) + zero, 0, 255) - zero) * step
    largest = np.abs(weight).max(axis=0, keepdims=True) if per_channel else np.abs(weight).max()
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    coarse = np.clip(np.round(weight / scale), -127, 127) * scale
    length = float(np.linalg.norm(exact))
    return float(np.linalg.norm(rounded @ coarse - exact)) / length if length else 0.0


def _write(path: Path, target: Path, nodes: list[str], per_channel: bool) -> None:
    tools: Any = importlib.import_module("onnxruntime.quantization")
    tools.quantize_dynamic(
        str(path),
        str(target),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=per_channel,
        # Signed weights beside unsigned inputs is what VNNI multiplies.
        weight_type=tools.QuantType.QInt8,
        # By name, so that attention's products of two inputs keep float32. A Gemm is made a MatMul
        # of another name first. An empty list would mean all of them.
        nodes_to_quantize=[*nodes, *(f"{name}_MatMul" for name in nodes)] or [""],
        use_external_data_format=_beside(path).exists(),
    )


def _beside(path: Path) -> Path:
    """Where the weights lie that a graph is too large to hold."""
    return path.with_name(f"{path.name}.data")


def _bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, _beside(path)) if each.exists())


def _remove(path: Path) -> None:
    for each in (path, _beside(path)):
        each.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    """Put a file, and the weights beside it, in the place of another."""
    if not _beside(source).exists():
        _remove(target)
        source.replace(target)
        return
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(str(source))  # the graph names the file beside it, so it is written again
    _remove(target)
    onnx.save(model, str(target), save_as_external_data=True, location=_beside(target).name)
    _remove(source)

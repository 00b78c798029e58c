"""Built-in storages: numbers against PyTorch and ONNX Runtime, extremes, rows, bounds of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.contracts.storage import Storage, StorageSettings, StoredArray
from engine.errors import WeightsError
from engine_plugins.storage.floats import BFloat16, Float16, Float32
from engine_plugins.storage.int8_rows import Int8Rows

FLOATS: dict[type[Storage], torch.dtype] = {
    Float32: torch.float32, Float16: torch.float16, BFloat16: torch.bfloat16,
}  # fmt: skip
LARGEST = {Float32: 3.4e38, Float16: 65_519.0, BFloat16: 3.38e38, Int8Rows: 127 * 65_504.0}
ALL = [*FLOATS, Int8Rows]


def made(storage: type[Storage]) -> Storage:
    return storage(StorageSettings())


def bits(parts: dict[str, StoredArray]) -> bytes:
    return b"".join(np.ascontiguousarray(part.array).tobytes() for part in parts.values())


def numbers(largest: float, dims: int = 0) -> st.SearchStrategy[np.ndarray]:
    top = float(np.float32(largest)) if np.float32(largest) <= largest else float(
        np.nextafter(np.float32(largest), np.float32(0)))  # fmt: skip
    return arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=dims, max_dims=3, min_side=0, max_side=6),
        elements=st.floats(-top, top, width=32),
    )


@pytest.mark.parametrize("storage", FLOATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_floats_have_the_bytes_that_pytorch_gives(
    storage: type[Storage], data: st.DataObject
) -> None:
    array = data.draw(numbers(LARGEST[storage]))
    parts = dict(made(storage).encode(array))
    right = torch.from_numpy(array).to(FLOATS[storage])
    carried = right.contiguous().view(torch.int16) if storage is not Float32 else right
    assert bits(parts) == carried.numpy().tobytes()
    decoded = made(storage).decode(parts, array.shape)
    assert decoded.dtype == np.float32
    assert decoded.shape == array.shape
    assert np.array_equal(decoded, right.float().numpy())


@pytest.mark.parametrize("storage", [Float16, BFloat16])
def test_every_pattern_of_bits_comes_back(storage: type[Storage]) -> None:
    """All finite numbers of the dtype, subnormal ones with them, are exact."""
    every = torch.arange(65_536).to(torch.uint16).view(FLOATS[storage]).float()
    array = every[every.isfinite()].numpy()
    parts = made(storage).encode(array)
    assert np.array_equal(made(storage).decode(parts, array.shape), array)


@settings(max_examples=200, deadline=None)
@given(numbers(LARGEST[Int8Rows], dims=2))
def test_int8_rows_are_off_by_at_most_half_a_scale(array: np.ndarray) -> None:
    storage = made(Int8Rows)
    parts = dict(storage.encode(array))
    assert {key: part.plan for key, part in parts.items()} == dict(storage.plan(array.shape))
    scale = parts[".scale"].array.astype(np.float64)
    found = storage.decode(parts, array.shape)
    assert np.isfinite(found).all()
    assert abs(parts[""].array.astype(int)).max(initial=0) <= 127
    bound = np.maximum(scale / 2 * (1 + 1e-6), 2.0**-25).reshape(-1, *[1] * (array.ndim - 1))
    assert (np.abs(found.astype(np.float64) - array) <= bound).all()
    # The scale is the smallest float16 that clips nothing, where float16 is not too coarse.
    for row, own in zip(array.reshape(len(array), -1) if array.size else [], scale, strict=False):
        largest = float(np.abs(row).max(initial=0)) / 127
        if largest > 6.2e-5:
            assert own >= largest
            below = float(np.nextafter(np.float16(own), np.float16(0)))
            assert below < largest


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_int8_rows_against_pytorch() -> None:
    array = np.random.default_rng(0).normal(0, 0.05, (300, 64)).astype(np.float32)
    array[7] = 0
    parts = made(Int8Rows).encode(array)
    scales = torch.from_numpy(parts[".scale"].array.astype(np.float64))
    safe = torch.where(scales > 0, scales, 1.0)
    right = torch.quantize_per_channel(
        torch.from_numpy(array), safe, torch.zeros(300, dtype=torch.long), 0, torch.qint8
    )
    levels = parts[""].array
    different = right.int_repr().numpy() != levels
    # PyTorch multiplies by the reciprocal, so a number halfway between two levels may fall on
    # either side.
    ratio = np.abs(array / safe.numpy()[:, None].astype(np.float32))
    assert (np.abs(ratio[different] % 1 - 0.5) < 1e-4).all()
    assert different.mean() < 1e-3
    own = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(levels), safe, torch.zeros(300, dtype=torch.long), 0
    )
    assert np.array_equal(own.dequantize().numpy(), made(Int8Rows).decode(parts, array.shape))


def test_int8_rows_against_onnx_runtime() -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    array = np.random.default_rng(1).normal(0, 3, (40, 3, 5, 5)).astype(np.float32)
    parts = made(Int8Rows).encode(array)
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["x", "scale"], ["y"], axis=0)],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.INT8, array.shape),
         helper.make_tensor_value_info("scale", TensorProto.FLOAT, [40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, array.shape)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scale = parts[".scale"].array.astype(np.float32)
    (right,) = session.run(None, {"x": parts[""].array, "scale": scale})
    assert np.array_equal(right, made(Int8Rows).decode(parts, array.shape))


@pytest.mark.parametrize("magnitude", [1e-45, 2e-8, 3e-8, 6e-8, 1e-7, 4e-6, 7.5e-6, 1e-5, 7.7e-3])
def test_int8_rows_of_tiny_numbers_are_not_lost_beyond_half_a_scale(magnitude: float) -> None:
    """Where a scale is a subnormal float16, or smaller than the smallest."""
    array = np.array([[magnitude, -magnitude / 3], [0, 0]], np.float32)
    parts = made(Int8Rows).encode(array)
    found = made(Int8Rows).decode(parts, array.shape)
    scale = float(parts[".scale"].array[0])
    smallest = 2.0**-24  # the smallest float16
    assert np.abs(found - array).max() <= max(scale, smallest) / 2
    assert scale == 0 or scale * 127.5 >= magnitude
    assert found.any() == (magnitude > smallest / 2)
    assert not found[1].any()


@pytest.mark.parametrize("storage", ALL)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3, 1), (1, 1), (2, 3, 0, 5)])
def test_empty_and_thin_tensors(storage: type[Storage], shape: tuple[int, ...]) -> None:
    array = np.full(shape, -1.5, np.float32)
    parts = made(storage).encode(array)
    assert {k: part.plan for k, part in parts.items()} == dict(made(storage).plan(shape))
    assert np.allclose(made(storage).decode(parts, shape), array, rtol=1e-2)


@pytest.mark.parametrize("storage", ALL)
def test_zeros_come_back_as_zeros(storage: type[Storage]) -> None:
    array = np.zeros((3, 5), np.float32)
    assert not made(storage).decode(made(storage).encode(array), array.shape).any()


@pytest.mark.parametrize(
    ("storage", "number", "held"),
    [
        (Float16, 65_519.0, True), (Float16, 65_520.0, False), (Float16, -70_000.0, False),
        (BFloat16, 3.38e38, True), (BFloat16, 3.4e38, False), (BFloat16, -3.4e38, False),
        (Float32, 3.4e38, True),
        (Int8Rows, 127 * 65_504.0, True), (Int8Rows, 127 * 65_504.0 + 1, False),
        (Int8Rows, -1e30, False),
    ],
)  # fmt: skip
def test_the_largest_number_that_is_held(storage: type[Storage], number: float, held: bool) -> None:
    array = np.array([[1, number], [2, 3]], np.float32)
    if held:
        parts = made(storage).encode(array)
        found = made(storage).decode(parts, array.shape)
        assert np.isfinite(found).all()
        assert math.isclose(found[0, 1], number, rel_tol=4e-3)
    else:
        with pytest.raises(WeightsError, match="holds numbers up to"):
            made(storage).encode(array)


@pytest.mark.parametrize("storage", ALL)
@pytest.mark.parametrize("shape", [(7, 3), (7, 2, 2), (1, 4)])
def test_rows_are_the_rows_of_the_whole(storage: type[Storage], shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    parts = made(storage).encode(array)
    rows = np.array([0, shape[0] - 1, 0], np.int64)
    whole = made(storage).decode(parts, shape)
    assert np.array_equal(made(storage).decode_rows(parts, shape, rows), whole[rows])
    assert made(storage).decode_rows(parts, shape, rows[:0]).shape == (0, *shape[1:])


@pytest.mark.parametrize("storage", ALL)
def test_numbers_in_any_memory_layout(storage: type[Storage]) -> None:
    array = np.random.default_rng(4).normal(size=(6, 4)).astype(np.float32)
    turned = np.asfortranarray(array)
    assert bits(dict(made(storage).encode(array))) == bits(dict(made(storage).encode(turned)))


@pytest.mark.parametrize(("shape", "fits"), [((), False), ((5,), False), ((5, 1), True)])
def test_what_has_rows(shape: tuple[int, ...], fits: bool) -> None:
    assert made(Int8Rows).fits(shape) == fits

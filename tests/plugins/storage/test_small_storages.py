"""Storages of 8 bits and less: numbers against ONNX Runtime, PyTorch and faiss; fixed points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.contracts.storage import Storage, StorageSettings, StoredArray
from engine.errors import WeightsError
from engine_plugins.storage.float8 import Float8, to_codes
from engine_plugins.storage.groups import pack, unpack
from engine_plugins.storage.int4_groups import Int4Groups
from engine_plugins.storage.int8_groups import Int8Groups
from engine_plugins.storage.int8_rows import Int8Rows
from engine_plugins.storage.pq import Pq
from engine_plugins.storage.settings import (
    Float8Settings,
    Int4GroupsSettings,
    Int8GroupsSettings,
    PqSettings,
)


def int4(group: int = 32, symmetric: bool = True) -> Storage:
    return Int4Groups(Int4GroupsSettings(group=group, symmetric=symmetric))


def int8(group: int = 64) -> Storage:
    return Int8Groups(Int8GroupsSettings(group=group))


def float8() -> Storage:
    return Float8(Float8Settings())


def pq(width: int = 4) -> Storage:
    return Pq(PqSettings(width=width))


ALL: dict[str, Storage] = {
    **{f"int4-{g}": int4(g) for g in (32, 64, 128)},
    **{f"int4-{g}-zero": int4(g, False) for g in (32, 64, 128)},
    **{f"int8-{g}": int8(g) for g in (32, 64, 128)},
    "int8_rows": Int8Rows(StorageSettings()),
    "float8": float8(),
    "pq2": pq(2),
    "pq4": pq(4),
}  # fmt: skip
each = pytest.mark.parametrize("storage", ALL.values(), ids=ALL.keys())


def bits(parts: Any) -> dict[str, bytes]:
    return {key: np.ascontiguousarray(part.array).tobytes() for key, part in parts.items()}


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_t(5, size=shape) * 0.05
    return found.astype(np.float32)


def tensors() -> st.SearchStrategy[np.ndarray]:
    """Matrices and kernels of ordinary, tiny and large numbers, also such that repeat."""
    number = st.one_of(
        st.floats(-1, 1, width=32),
        st.floats(-(2.0**-16), 2.0**-16, width=32),
        st.floats(-(2.0**-22), 2.0**-22, width=32),
        st.floats(-60_000, 60_000, width=32),
        st.sampled_from([0.0, 0.5, -0.5, 1.0]),
    )
    shape = st.one_of(
        arrays.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5),
        st.tuples(st.integers(1, 3), st.sampled_from([4, 33, 64, 70, 130])),
    )
    return arrays.arrays(np.float32, shape, elements=number, fill=st.just(0.25))


@each
@settings(max_examples=100, deadline=None)
@given(array=tensors())
def test_what_is_decoded_and_encoded_again_has_the_same_bytes(
    storage: Storage, array: np.ndarray
) -> None:
    if not storage.fits(array.shape):
        return
    parts = dict(storage.encode(array))
    assert {key: part.plan for key, part in parts.items()} == dict(storage.plan(array.shape))
    decoded = storage.decode(parts, array.shape)
    assert np.isfinite(decoded).all()
    assert bits(storage.encode(decoded)) == bits(parts)


@each
def test_rows_are_the_rows_of_the_whole(storage: Storage) -> None:
    array = weights(300, 64)
    parts = storage.encode(array)
    rows = np.array([0, 299, 7, 7], np.int64)
    whole = storage.decode(parts, array.shape)
    assert np.array_equal(storage.decode_rows(parts, array.shape, rows), whole[rows])
    assert storage.decode_rows(parts, array.shape, rows[:0]).shape == (0, 64)


@each
def test_only_the_asked_rows_are_read(storage: Storage) -> None:
    """Every other row of what is stored may hold anything."""
    array = weights(50, 64)
    parts = storage.encode(array)
    wanted = storage.decode(parts, array.shape)[[3, 9]]
    spoiled = {}
    for key, part in parts.items():
        other = part.array.copy()
        if key != ".codebook":  # which belongs to all rows
            other[[i for i in range(50) if i not in (3, 9)]] = 77
        spoiled[key] = StoredArray(part.dtype, other)
    found = storage.decode_rows(spoiled, array.shape, np.array([3, 9]))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    ("storage", "bound"),
    [(int8(32), 4e-5), (int8(128), 8e-5), (int4(32, False), 5e-3), (int4(32), 7e-3),
     (int4(128), 0.012), (float8(), 6e-4), (pq(2), 8e-3), (pq(4), 0.05)],
)  # fmt: skip
def test_the_error_is_as_small_as_the_bits_allow(storage: Storage, bound: float) -> None:
    """Share of the squared length that is lost, for numbers with the tails that weights have."""
    array = weights(3000, 64)
    found = storage.decode(storage.encode(array), array.shape)
    assert np.square(found - array).sum() / np.square(array).sum() < 2 * bound


def test_more_bits_and_smaller_groups_lose_less() -> None:
    array = weights(64, 256)

    def lost(storage: Storage) -> float:
        return float(np.square(storage.decode(storage.encode(array), array.shape) - array).sum())

    assert lost(int8(32)) < lost(int8(128)) < lost(int4(32, False)) < lost(int4(32))
    assert lost(int4(32)) < lost(int4(64)) < lost(int4(128))


def test_int4_is_better_than_the_plain_scale() -> None:
    """The scale with the smallest error, against the largest number by 7."""
    array = weights(200, 128)
    groups = array.reshape(-1, 32)
    scale = np.abs(groups).max(axis=1, keepdims=True) / 7
    plain = np.rint(groups / scale) * scale
    found = int4().decode(int4().encode(array), array.shape).reshape(-1, 32)
    assert np.square(found - groups).sum() < 0.8 * np.square(plain - groups).sum()


# --- oracles -----------------------------------------------------------------------------------


def dequantize(levels: np.ndarray, kind: str, shape: tuple[int, ...], scale: np.ndarray,
               group: int, zero: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """ONNX Runtime's DequantizeLinear by blocks of the last axis."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    dtype = getattr(TensorProto, kind)
    stored = [helper.make_tensor("x", dtype, shape, levels.tobytes(), raw=True),
              helper.make_tensor("scale", TensorProto.FLOAT, scale.shape,
                                 scale.astype(np.float32).tobytes(), raw=True)]  # fmt: skip
    if zero is not None:
        stored.append(helper.make_tensor("zero", dtype, scale.shape, zero.tobytes(), raw=True))
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", [one.name for one in stored], ["y"], axis=1,
                          block_size=group)],
        "groups", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {})[0]
    return found


@pytest.mark.parametrize("group", [32, 64, 128])
def test_int8_groups_against_onnx_runtime(group: int) -> None:
    array = weights(24, 256)
    parts = int8(group).encode(array)
    right = dequantize(parts[""].array, "INT8", array.shape, parts[".scale"].array, group)
    assert np.array_equal(right, int8(group).decode(parts, array.shape))


@pytest.mark.parametrize("group", [32, 64, 128])
def test_asymmetric_int4_against_onnx_runtime(group: int) -> None:
    """Levels and zero points are ONNX's UINT4, byte for byte, where groups fill the row evenly."""
    array = weights(24, 256)
    parts = int4(group, False).encode(array)
    right = dequantize(
        parts[""].array, "UINT4", array.shape, parts[".scale"].array, group, parts[".zero"].array
    )
    assert np.array_equal(right, int4(group, False).decode(parts, array.shape))


@pytest.mark.parametrize("group", [32, 128])
def test_symmetric_int4_against_onnx_runtime(group: int) -> None:
    """ONNX's INT4 counts from -8: the same bits with the highest of each four turned."""
    array = weights(24, 256)
    parts = int4(group).encode(array)
    right = dequantize(
        parts[""].array ^ np.uint8(0x88), "INT4", array.shape, parts[".scale"].array, group
    )
    assert np.array_equal(right, int4(group).decode(parts, array.shape))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("group", [32, 64])
def test_int8_groups_against_pytorch(group: int) -> None:
    """Each group as a channel of its own of torch.quantize_per_channel."""
    array = weights(100, 64)
    parts = int8(group).encode(array)
    scales = torch.from_numpy(parts[".scale"].array.astype(np.float64).reshape(-1))
    right = torch.quantize_per_channel(
        torch.from_numpy(array.reshape(-1, group)), scales,
        torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8,
    )  # fmt: skip
    levels = parts[""].array.reshape(-1, group)
    different = right.int_repr().numpy() != levels
    assert different.mean() < 1e-3  # PyTorch multiplies by the reciprocal: ties may differ
    assert np.abs(right.int_repr().numpy() - levels.astype(int)).max() <= 1
    same = ~different
    assert np.array_equal(
        right.dequantize().numpy()[same],
        int8(group).decode(parts, array.shape).reshape(-1, group)[same],
    )


def test_float8_codes_are_those_of_pytorch() -> None:
    every = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).float()
    numbers = every[every.isfinite()].numpy()
    own = weights(100_000, seed=3) * np.float32(2) ** np.random.default_rng(1).integers(
        -12, 12, 100_000
    ).astype(np.float32)
    halves = (np.sort(numbers)[1:] + np.sort(numbers)[:-1]) / 2  # ties go to the even one
    for tried in (numbers, own[np.abs(own) <= 448], halves.astype(np.float32)):
        right = torch.from_numpy(tried).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
        found = to_codes(tried)
        zero = (found & 0x7F) == 0
        assert np.array_equal(found[~zero], right[~zero])
        assert not (right[zero] & 0x7F).any()


def test_float8_is_decoded_as_pytorch_does() -> None:
    array = weights(40, 3, 5)
    parts = float8().encode(array)
    codes = torch.from_numpy(parts[""].array).view(torch.float8_e4m3fn).float()
    scale = torch.from_numpy(parts[".scale"].array).float()[:, None, None]
    assert np.array_equal((codes * scale).numpy(), float8().decode(parts, array.shape))


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_pq_is_decoded_as_faiss_does(width: int) -> None:
    faiss = pytest.importorskip("faiss")
    array = weights(400, 32)
    parts = pq(width).encode(array)
    right = faiss.ProductQuantizer(32, 32 // width, 8)
    books = parts[".codebook"].array.astype(np.float32)
    faiss.copy_array_to_vector(books.ravel(), right.centroids)
    assert np.array_equal(right.decode(parts[""].array), pq(width).decode(parts, array.shape))
    # Every row has the nearest vectors of the codebooks.
    codes = right.compute_codes(array)
    own = pq(width).decode(parts, array.shape)
    assert np.allclose(np.square(right.decode(codes) - array).sum(1),
                       np.square(own - array).sum(1), rtol=1e-4)  # fmt: skip


def test_pq_is_as_good_as_faiss_and_deterministic() -> None:
    faiss = pytest.importorskip("faiss")
    array = weights(3000, 16)
    right = faiss.ProductQuantizer(16, 4, 8)
    right.train(array)
    theirs = np.square(right.decode(right.compute_codes(array)) - array).sum()
    faiss.omp_set_num_threads(2)
    parts = pq(4).encode(array)
    faiss.omp_set_num_threads(1)
    assert np.square(pq(4).decode(parts, array.shape) - array).sum() < 1.05 * theirs
    assert bits(pq(4).encode(array.copy())) == bits(parts)


def test_pq_of_few_different_vectors_keeps_every_bit() -> None:
    """256 different vectors at each place, in a table of 5,000 rows, all exact in float16."""
    rng = np.random.default_rng(5)
    books = rng.integers(-500, 500, (8, 256, 4)).astype(np.float32) / 64
    array = books[np.arange(8), rng.integers(0, 256, (5000, 8))].reshape(5000, 32)
    assert np.array_equal(pq(4).decode(pq(4).encode(array), array.shape), array)


# --- shapes, extremes --------------------------------------------------------------------------


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=0),
                     elements=st.integers(0, 15)))  # fmt: skip
def test_packing_is_undone(levels: np.ndarray) -> None:
    packed = pack(levels)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(levels), -(-levels.shape[1] // 2))
    assert np.array_equal(unpack(packed, levels.shape[1]), levels)


@pytest.mark.parametrize(
    ("storage", "shape", "size"),
    [
        (int4(32), (7, 33), 7 * (17 + 2 * 2)),
        (int4(32, False), (7, 97), 7 * (49 + 4 * 2 + 2)),
        (int4(128), (4, 3, 5, 5), 4 * (38 + 2)),
        (int8(64), (7, 65), 7 * (65 + 2 * 2)),
        (float8(), (7, 65), 7 * (65 + 2)),
        (float8(), (7,), 7 + 2),
        (pq(4), (1000, 64), 1000 * 16 + 16 * 256 * 4 * 2),
        (pq(4), (100, 64), 100 * 16 + 16 * 100 * 4 * 2),
    ],
)
def test_bytes_by_hand(storage: Storage, shape: tuple[int, ...], size: int) -> None:
    assert sum(part.bytes for part in storage.plan(shape).values()) == size
    parts = storage.encode(np.ones(shape, np.float32))
    assert sum(part.plan.bytes for part in parts.values()) == size


@pytest.mark.parametrize(
    ("storage", "number", "held"),
    [
        (int4(), 4 * 65_504.0, True), (int4(), 4 * 65_520.0, False),
        (int4(32, False), 7.5 * 65_504.0, True), (int4(32, False), -1e6, False),
        (int8(), 127 * 65_504.0, True), (int8(), -1e7, False),
        (float8(), 448 * 65_504.0, True), (float8(), 3e7, False),
        (pq(), 65_504.0, True), (pq(), -65_520.0, False),
    ],
)  # fmt: skip
def test_the_largest_number_that_is_held(storage: Storage, number: float, held: bool) -> None:
    array = np.array([[1, number, 0, 0], [2, 3, 0, 0]], np.float32)
    if held:
        found = storage.decode(storage.encode(array), array.shape)
        assert np.isfinite(found).all()
        assert abs(found[0, 1] / number - 1) < 4e-3
    else:
        with pytest.raises(WeightsError, match="holds numbers up to"):
            storage.encode(array)


@pytest.mark.parametrize(
    ("storage", "shape", "fits"),
    [
        (int4(), (), False), (int4(), (5,), False), (int4(), (5, 1), True),
        (int8(), (5,), False), (int8(), (2, 3, 4), True),
        (float8(), (), False), (float8(), (5,), True),
        (pq(), (5, 8), True), (pq(), (5, 6), False), (pq(2), (5, 6), True), (pq(), (5,), False),
        (pq(), (0, 8), False), (pq(), (5, 0), False), (pq(), (5, 8, 1), False),
    ],
)  # fmt: skip
def test_what_fits(storage: Storage, shape: tuple[int, ...], fits: bool) -> None:
    assert storage.fits(shape) is fits


def test_a_code_that_no_codebook_has_is_read_as_the_last_one() -> None:
    array = weights(10, 8)
    parts = dict(pq(4).encode(array))
    wrong = np.full_like(parts[""].array, 255)
    found = pq(4).decode({**parts, "": StoredArray("U8", wrong)}, array.shape)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("group", [0, 1, 33, 256])
def test_other_groups_are_refused(group: int) -> None:
    with pytest.raises(ValueError, match="group"):
        Int4GroupsSettings(group=group)

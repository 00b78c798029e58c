"""Torch files: the same numbers as `torch.load`, or a reason; never a neighbour's bytes."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.core.weights import read_checkpoint
from engine.errors import WeightsError

Member = tuple[zipfile.ZipInfo, bytes]


def some_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    return {
        "float32": torch.randn(3, 5),
        "float64": torch.randn(4, dtype=torch.float64),
        "float16": torch.randn(4).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "int64": torch.arange(7),
        "int8": torch.arange(7, dtype=torch.int8),
        "bool": torch.tensor([True, False, True]),
        "complex": torch.randn(3, dtype=torch.complex64),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "view": base[1:4, 2:7],
        "transposed": base.t(),
        "expanded": torch.arange(3.0).expand(4, 3),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        "parameter again": nn.Parameter(torch.randn(1), requires_grad=False),
    }


def same(found: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert found.keys() == right.keys()
    for name, tensor in right.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor.detach()), name


def rewrite(path: Path, change: Callable[[list[Member]], list[Member]], method: int = 0) -> Path:
    """Write a torch file's archive again, its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    new = path.with_name("changed.pt")
    with zipfile.ZipFile(new, "w") as archive:
        for info, data in change(members):
            archive.writestr(zipfile.ZipInfo(info.filename), data, compress_type=method)
    return new


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(tmp_path / "x.pt", some_state())


# --- what is whole reads as torch reads it --------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_sort_of_tensor_reads_as_torch_reads_it(
    tmp_path: Path, zipped: bool, protocol: int
) -> None:
    state = OrderedDict(some_state())
    if zipped:
        state["float8"] = torch.randn(4).to(torch.float8_e4m3fn).float().to(torch.float8_e5m2)
        state["uint16"] = torch.arange(4).to(torch.uint16)
    path = saved(
        tmp_path / "x", state, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol
    )
    found = read_checkpoint(path)
    float8 = found.pop("float8", None)
    if float8 is not None:
        assert torch.equal(float8.float(), state.pop("float8").float())
    same(found, dict(state))


def test_tensors_that_shared_memory_share_it(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    for zipped in (True, False):
        path = saved(
            tmp_path / "x.pt",
            {"a": base, "b": base.view(3, 4), "c": base[4:]},
            _use_new_zipfile_serialization=zipped,
        )
        found = read_checkpoint(path)
        found["a"][5] = 100.0
        assert found["b"][1, 1] == found["c"][1] == 100.0


def test_what_is_read_can_be_changed_without_changing_the_file(path: Path) -> None:
    before = path.read_bytes()
    read_checkpoint(path)["float32"].zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_packed_again_reads_the_same(path: Path, method: int) -> None:
    """Members deflated, or stored where torch would not have put them."""
    same(read_checkpoint(rewrite(path, list, method)), some_state())


def test_an_archive_half_deflated_reads_the_same(path: Path) -> None:
    new = path.with_name("mixed.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
        for place, info in enumerate(old.infolist()):
            archive.writestr(info.filename, old.read(info), compress_type=8 * (place % 2))
    same(read_checkpoint(new), some_state())


def test_a_file_without_checksums_reads(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "x.pt", some_state())
    finally:
        torch.serialization.set_crc32_options(before)
    same(read_checkpoint(path), some_state())


def test_a_file_of_a_big_endian_machine_reads(path: Path) -> None:
    widths = {"complex": 4}

    def swap(members: list[Member]) -> list[Member]:
        sizes = [widths.get(name, t.element_size()) for name, t in some_state().items()]
        # `view` and `transposed` share one storage, so there is one storage fewer than tensors.
        del sizes[list(some_state()).index("transposed")]
        out = []
        for info, data in members:
            if info.filename.endswith("byteorder"):
                data = b"big"
            if "/data/" in info.filename:
                width = sizes[int(info.filename.rpartition("/")[2])]
                data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
            out.append((info, data))
        return out

    same(read_checkpoint(rewrite(path, swap)), some_state())


class Attributed(Tensor):
    """A tensor of a subclass."""


def test_what_training_programs_save_beside_weights_is_skipped(tmp_path: Path) -> None:
    import argparse
    import pathlib

    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tagged = nn.Parameter(torch.ones(3))
    tagged.note = "x"  # type: ignore[attr-defined]
    content = {
        "state_dict": {**model.state_dict(), "tagged": tagged, "x._extra_state": None},
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=1e-3, folder=pathlib.PurePosixPath("/tmp")),
        "best": np.float64(0.5),
        "rng": np.arange(3),
        "torch_rng": torch.get_rng_state(),
        "when": defaultdict(list, {"a": [1, {2, 3}, (4, None)]}),
        "loss": torch.tensor(0.5),
        "bytes": b"\xff\x00",
        "number": 10**30,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([3]),
    }
    for zipped in (True, False):
        path = saved(tmp_path / "x.ckpt", content, _use_new_zipfile_serialization=zipped)
        found = read_checkpoint(path)
        same(found, {**model.state_dict(), "tagged": torch.ones(3)})


# --- what is not whole is refused -----------------------------------------------------------------


def resized(by: int) -> Callable[[list[Member]], list[Member]]:
    def change(members: list[Member]) -> list[Member]:
        return [
            (
                info,
                (data + bytes(by) if by > 0 else data[:by]) if "/data/0" in info.filename else data,
            )
            for info, data in members
        ]

    return change


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("by", [-60, -4, -1, 1, 4, 1000])
def test_a_storage_of_another_length_is_refused(path: Path, by: int, method: int) -> None:
    with pytest.raises(WeightsError, match=r"storage 0 has .* its tensors claim 60"):
        read_checkpoint(rewrite(path, resized(by), method))


def without(name: str) -> Callable[[list[Member]], list[Member]]:
    return lambda members: [m for m in members if not m[0].filename.endswith(name)]


def replaced(name: str, by: bytes) -> Callable[[list[Member]], list[Member]]:
    return lambda members: [
        (info, by if info.filename.endswith(name) else data) for info, data in members
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("/data/3"), "data/3 is missing"),
        (without("data.pkl"), "not a file of weights"),
        (replaced("byteorder", b"middle"), "byte order"),
        (replaced("data.pkl", b""), "pickle"),
        (replaced("data.pkl", b"\x80\x02."), "pickle"),
        (lambda members: [*members, members[-1]], "twice"),
        (
            lambda members: [*members, (zipfile.ZipInfo("b/data.pkl"), b"x")],
            "not a file of weights",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_torch_did_not_write_so(
    path: Path, change: Callable[[list[Member]], list[Member]], reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        read_checkpoint(rewrite(path, change))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_changed_byte_of_any_storage_is_noticed(path: Path, method: int) -> None:
    changed = rewrite(path, list, method)
    whole = changed.read_bytes()
    with zipfile.ZipFile(changed) as archive:
        members = [
            info for info in archive.infolist() if info.file_size and "/data" in info.filename
        ]
    for info in members:
        data = bytearray(whole)
        data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 1
        changed.write_bytes(data)
        with pytest.raises(WeightsError, match=r"checksum|torch file"):
            read_checkpoint(changed)


def test_members_that_share_bytes_are_refused(path: Path) -> None:
    """The archive's directory says that one storage lies inside of another."""
    plain = rewrite(path, list)
    data = bytearray(plain.read_bytes())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    plain.write_bytes(data)
    with pytest.raises(WeightsError, match="share bytes"):
        read_checkpoint(plain)


def test_an_archive_that_unpacks_without_measure_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", {"zeros": torch.zeros(5_000_000)})
    packed = rewrite(path, list, zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="unpack to more than 32 times"):
        read_checkpoint(packed)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.ones(2, device="meta"),
        torch.ones(3).untyped_storage(),
        torch.ones(3).as_subclass(Attributed),
        [1.0, 2.0],
        "text",
        3,
        None,
        {"deeper": torch.ones(1)},
    ],
    ids=["sparse", "csr", "meta", "storage", "subclass", "list", "str", "int", "none", "dict"],
)
def test_what_is_not_a_plain_tensor_is_refused_by_name(tmp_path: Path, tensor: object) -> None:
    path = saved(tmp_path / "x.pt", {"fine": torch.ones(2), "odd.weight": tensor})
    with pytest.raises(WeightsError, match=r"x\.pt.*(odd\.weight.*not a tensor|could run code)"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_quantized_tensor_is_refused_by_name(tmp_path: Path) -> None:
    tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    path = saved(tmp_path / "x.pt", {"odd.weight": tensor})
    with pytest.raises(WeightsError, match=r"no tensors|odd\.weight"):
        read_checkpoint(path)


# --- tensors that claim what is not theirs --------------------------------------------------------


class Claimed:
    """Pickles as a call of torch's own function with these arguments."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments  # type: ignore[attr-defined]


def claimed(path: Path, shape: object, stride: object, offset: object, zipped: bool) -> Path:
    storage = torch.arange(10.0).storage()
    content = {"w": Claimed(storage, offset, shape, stride, False, OrderedDict())}
    return saved(path, content, _use_new_zipfile_serialization=zipped)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [
        ((11,), (1,), 0),
        ((10,), (1,), 1),
        ((2, 5), (6, 1), 0),
        ((2,), (10,), 0),
        ((1,), (1,), 10),
        ((), (), 10),
        ((3,), (1,), -1),
        ((3,), (-1,), 5),
        ((-3,), (1,), 0),
        ((3, 3), (1,), 0),
        ((3,), (1, 1), 0),
        ((2**62,), (0,), 0),
        ((2**40,), (0,), 0),
        ((2**31, 2**31), (0, 0), 0),
        ((1,) * 64, (1,) * 64, 0),
        ((1.5,), (1,), 0),
        ((True,), (1,), 0),
        (("3",), (1,), 0),
        (None, (1,), 0),
        ((3,), (1,), None),
        ((10**40,), (1,), 0),
        ((0, 2**47, 2**47, 2**47), (1, 1, 1, 1), 0),
    ],
)  # fmt: skip
def test_a_tensor_that_reaches_outside_of_its_storage_is_refused(
    tmp_path: Path, shape: object, stride: object, offset: object, zipped: bool
) -> None:
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_checkpoint(claimed(tmp_path / "x.pt", shape, stride, offset, zipped))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [((10,), (1,), 0), ((5, 2), (1, 5), 0), ((4, 3), (2, 1), 1), ((), (), 9), ((7, 10), (0, 1), 0)],
)
def test_views_inside_of_a_storage_are_right(
    tmp_path: Path, shape: tuple[int, ...], stride: tuple[int, ...], offset: int, zipped: bool
) -> None:
    found = read_checkpoint(claimed(tmp_path / "x.pt", shape, stride, offset, zipped))["w"]
    assert torch.equal(found, torch.arange(10.0).as_strided(shape, stride, offset))


def test_an_old_file_whose_storage_is_cut_short_or_claims_more(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", {"w": torch.arange(8.0)}, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    count = len(whole) - 8 * 4 - 8  # where the number of elements stands
    assert int.from_bytes(whole[count : count + 8], "little") == 8
    for bad in (
        whole[:-1],
        whole[:count],
        whole[:count] + (2**60).to_bytes(8, "little") + whole[count + 8 :],
        whole[:count] + (7).to_bytes(8, "little") + whole[count + 8 :],
        whole[:count] + b"\xff" * 8 + whole[count + 8 :],
    ):
        path.write_bytes(bad)
        with pytest.raises(WeightsError, match=r"storage|torch file"):
            read_checkpoint(path)


# --- pickles --------------------------------------------------------------------------------------


def in_archive(path: Path, text: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/version", "3\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch.serialization\nload\n.",
        b"\x80\x02ctorch._utils\n_import_dotted_name\n.",
        b"\x80\x02csubprocess\nPopen\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.",
        b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
        b"\x80\x02cpathlib.os\nsystem\n.",
        b"\x80\x02cpathlib\nos.system\n.",
    ],
)
def test_a_pickle_that_names_code_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(WeightsError, match="could run code; refused"):
        read_checkpoint(in_archive(tmp_path / "x.pt", text))


@pytest.mark.parametrize(
    "text",
    [
        b".", b"\x80\x02", b"\x80\x02}", b"0.", b"2.", b"(.", b"t.", b"a.", b"e.", b"s.", b"u.",
        b"R.", b"b.", b"Q.", b"\x81.", b"\x93.", b"j\xff\xff\xff\x7f.", b"h\x01.", b"g5\n.",
        b"]K\x01K\x02s.", b"}K\x01a.", b"}(K\x01u.", b"NQ.", b"N)R.", b"P1\n.", b"\x82\x01.",
        b"(icollections\nOrderedDict\n.", b"\x97.", b"I" + b"9" * 5000 + b"\n.", b"\x85.",
        b"K\x01\x86.",
        b"B\xff\xff\xff\x7f.", b"\x8e" + b"\xff" * 7 + b"\x7f.", b"\x96" + b"\xff" * 7 + b"\x7f.",
        b"X\x01\x00\x00\x00\xff.", b"F1e\n.", b"L\n.", b"\x80\xff.", b"\xff.", b"c\n\n.", b"cx.",
        b"]" * 100_000 + b"a" * 99_999 + b".", b"(" * 100_000 + b"t" * 100_000 + b".",
        b"}" + b"(" * 50_000 + b"t" * 50_000 + b"Ns.",
        b"ctorch\nSize\nK\x05\x85R.", b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR.",
    ],
)  # fmt: skip
def test_a_damaged_pickle_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_checkpoint(in_archive(tmp_path / "x.pt", text))


@pytest.mark.parametrize(
    "identity",
    [
        ("storage", torch.FloatStorage, "0", "cpu", 2**70),
        ("storage", torch.FloatStorage, "0", "cpu", -1),
        ("storage", torch.FloatStorage, "0", "cpu", True),
        ("storage", torch.FloatStorage, "0", "cpu", 2.0),
        ("storage", torch.FloatStorage, "0", "cpu", 2**40),
        ("storage", torch.FloatStorage, 0, "cpu", 2),
        ("storage", torch.FloatStorage, "../../etc/passwd", "cpu", 2),
        ("storage", torch.float32, "0", "cpu", 2),
        ("storage", "FloatStorage", "0", "cpu", 2),
        ("module", torch.FloatStorage, "0", "cpu", 2),
        ("storage", torch.FloatStorage),
        (),
        "storage",
        None,
    ],
)
def test_an_impossible_storage_is_refused(tmp_path: Path, identity: object) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return identity if isinstance(value, SimpleNamespace) else None

    text = io.BytesIO()
    claim = Claimed(SimpleNamespace(), 0, (2,), (1,), False, OrderedDict())
    Pickler(text, 2).dump({"w": claim})
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_checkpoint(in_archive(tmp_path / "x.pt", text.getvalue()))


@pytest.mark.parametrize("zipped", [True, False])
def test_random_damage_is_an_error_of_ours_or_harmless(tmp_path: Path, zipped: bool) -> None:
    """Whatever bytes change: a WeightsError, or the right names with tensors that can be read."""
    path = saved(tmp_path / "x.pt", some_state(), _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            for tensor in read_checkpoint(path).values():
                tensor.clone()
        except WeightsError:
            refused += 1
    assert refused > 100

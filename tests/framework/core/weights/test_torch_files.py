"""Torch files: the same numbers as `torch.load`, or a reason; never a neighbour's bytes."""

from __future__ import annotations

import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.core.weights import read_checkpoint
from engine.errors import WeightsError

from .torch_archives import saved, some_state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(tmp_path / "x.pt", some_state())


Member = tuple[zipfile.ZipInfo, bytes]


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

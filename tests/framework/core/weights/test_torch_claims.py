"""Torch files whose tensors or pickles claim what is not theirs."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.core.weights import read_checkpoint
from engine.errors import WeightsError

from .torch_archives import saved, some_state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(tmp_path / "x.pt", some_state())


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

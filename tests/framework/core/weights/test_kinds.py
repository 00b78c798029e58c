"""A file that holds no weights: the message says what it is, whatever it is called."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file

from engine.core.weights import read_checkpoint
from engine.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}
LFS = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 605247071
"""


def torch_bytes() -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file)
    return file.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("model.pt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


FOREIGN: list[tuple[bytes, str]] = [
    (b"", "is empty"),
    (LFS, "Git LFS pointer"),
    (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML page"),
    (b"\n\n  <html lang=en>", "HTML page"),
    (b"\xef\xbb\xbf<!doctype HTML><title>Sign in", "HTML page"),
    (b'<?xml version="1.0"?><html xmlns="x">', "HTML page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    (b'{"error": "Repository not found"}', "JSON"),
    (b'{\n  "weight_map": {}\n}', "JSON"),
    (b"Entry not found", "text that begins 'Entry not found'"),
    ("Страница не найдена".encode(), "text that begins 'Страница"),
    (b"../../.git/annex/objects/xx/SHA256E-s1--y.pt", "git-annex"),
    (gzip.compress(torch_bytes()), "gzip"),
    (b"\x28\xb5\x2f\xfd" + bytes(range(200)), "Zstandard"),
    (b"\xfd7zXZ\x00" + bytes(range(200)), "xz file"),
    (b"BZh91AY&SY" + bytes(range(200)), "bzip2"),
    (tar(torch_bytes()), "tar archive"),
    (zipped("model.pt", torch_bytes()), "zip archive of model.pt"),
    (zipped("a/b/data.pkl", b"x"), "zip archive of a/b/data.pkl"),
    (npz(), "NumPy arrays"),
    (b"\x93NUMPY\x01\x00" + bytes(100), "NumPy array"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0:\x10", "ONNX"),
    (b"\x08\x07\x12\x0bonnx.quant", "ONNX"),
    (b"GGUF\x03\x00\x00\x00", "GGUF"),
    (b"\x1c\x00\x00\x00TFL3" + bytes(20), "TensorFlow Lite"),
    (picture("PNG"), "picture"),
    (picture("JPEG"), "picture"),
    (picture("WEBP"), "picture"),
    (b"%PDF-1.7\n", "PDF"),
    (b"\x7fELF\x02\x01", "program"),
    (b"PAR1" + bytes(range(100)), "Parquet"),
    (b"SQLite format 3\x00" + bytes(100), "SQLite"),
    (bytes(5000), "zero bytes"),
    (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94.", "a pickle that torch did not write"),
    (bytes(range(256)), "neither safetensors nor a torch file"),
    (b"\x05", "neither safetensors nor a torch file"),
    (b"PK\x03\x04", "cannot be read as a torch file"),
    (b"\x1b[31mred\x1b[0m\x00", "neither safetensors"),
]


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(("data", "what"), FOREIGN, ids=[what for _, what in FOREIGN])
def test_the_message_says_what_the_file_is(
    tmp_path: Path, data: bytes, what: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path)
    assert what in caught.value.message
    assert name in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint
    if "pickle" not in what:
        assert "could run code" not in str(caught.value)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name in ("x.pt", "x.bin", "x.safetensors", "x"):
        for data in (save(STATE), torch_bytes()):
            path = tmp_path / name
            path.write_bytes(data)
            found = read_checkpoint(path)
            assert found.keys() == STATE.keys()
            assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match="is a folder"):
        read_checkpoint(tmp_path)
    (tmp_path / "broken.pt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "broken.pt")


def header(text: str, data: bytes = b"", length: int | None = None) -> bytes:
    head = text.encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


F32 = '"dtype":"F32","shape"'


@pytest.mark.parametrize(
    "data",
    [
        header(f'{{"a":{{{F32}:[4],"data_offsets":[0,16]}}}}', bytes(15)),
        header(f'{{"a":{{{F32}:[4],"data_offsets":[0,16]}}}}', bytes(17)),
        header(
            f'{{"a":{{{F32}:[4],"data_offsets":[0,16]}},"b":{{{F32}:[4],"data_offsets":[0,16]}}}}',
            bytes(16),
        ),
        header(
            f'{{"a":{{{F32}:[4],"data_offsets":[0,16]}},"b":{{{F32}:[4],"data_offsets":[8,24]}}}}',
            bytes(24),
        ),
        header(f'{{"a":{{{F32}:[5],"data_offsets":[0,16]}}}}', bytes(16)),
        header(f'{{"a":{{{F32}:[4],"data_offsets":[16,0]}}}}', bytes(16)),
        header(f'{{"a":{{{F32}:[4],"data_offsets":[4,20]}}}}', bytes(20)),
        header(f'{{"a":{{{F32}:[-4],"data_offsets":[0,16]}}}}', bytes(16)),
        header(f'{{"a":{{{F32}:[{2**62},4],"data_offsets":[0,16]}}}}', bytes(16)),
        header('{"a":{"dtype":"F33","shape":[4],"data_offsets":[0,16]}}', bytes(16)),
        header('{"a":{"dtype":"F32","shape":[4]}}', bytes(16)),
        header('{"a":3}', bytes(16)),
        header("{}"),
        header('{"__metadata__":{"format":"pt"}}'),
        header("{" + '"a":{' * 5000, bytes(16)),
        header('{"a":', bytes(16), length=90_000_000),
    ],
)  # fmt: skip
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_safetensors_cut_anywhere_are_refused(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x.safetensors").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"x\.safetensors"):
            read_checkpoint(tmp_path / "x.safetensors")

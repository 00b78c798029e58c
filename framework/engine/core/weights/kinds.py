"""What a file is, found from its bytes: a name says little about a file that was downloaded."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from engine.errors import WeightsError

HEAD = 1024
"""Bytes of a file that are looked at."""

_FETCH = "Download the file again and look at what the server really sent."
_UNPACK = "Unpack it first, and name the file inside that holds the weights."
_CONVERT = "Convert it to safetensors with the program that it came from."


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        what: with its article, to complete "the file is ...".
        hint: what to do instead of reading it as weights.
    """

    what: str
    hint: str


_PICTURE = FileKind("a picture", _FETCH)
_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        FileKind(
            "a Git LFS pointer, the few lines of text that stand in for the file in a repository",
            "Run `git lfs pull` in the repository, or download the file itself.",
        ),
    ),
    (b"\x1f\x8b", FileKind("a gzip file", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileKind("a Zstandard file", _UNPACK)),
    (b"\xfd7zXZ\x00", FileKind("an xz file", _UNPACK)),
    (b"BZh", FileKind("a bzip2 file", _UNPACK)),
    (b"\x04\x22\x4d\x18", FileKind("an LZ4 file", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7-Zip archive", _UNPACK)),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", _UNPACK)),
    (b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file, as Keras writes it", _CONVERT)),
    (b"\x93NUMPY", FileKind("a NumPy array", _CONVERT)),
    (b"GGUF", FileKind("a GGUF file of llama.cpp", _CONVERT)),
    (b"SQLite format 3\x00", FileKind("an SQLite database", _CONVERT)),
    (b"PAR1", FileKind("a Parquet table", _CONVERT)),
    (b"ARROW1", FileKind("an Arrow table", _CONVERT)),
    (b"\x89PNG\r\n\x1a\n", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"%PDF-", FileKind("a PDF document", _FETCH)),
    (b"\x7fELF", FileKind("a program", _FETCH)),
    (b"MZ\x90", FileKind("a program", _FETCH)),
)


def read_head(path: Path) -> bytes:
    """The first ``HEAD`` bytes of a file.

    Raises:
        WeightsError: it is missing, empty, not a regular file, or cannot be read.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder", hint="Name the file of weights inside it.")
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "no such file"
        raise WeightsError(f"{path}: {what}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not head:
        raise WeightsError(f"{path} is empty (0 bytes)", hint=_FETCH)
    return head


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors: the length of a header, then its JSON."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and head[8:9] == b"{" and 2 <= length <= min(size, 100_000_000)


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a zip archive, which is what ``torch.save`` writes."""
    return head.startswith(b"PK\x03\x04")


def is_pickle(head: bytes) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def foreign(head: bytes) -> FileKind:
    """The kind of a file that is neither safetensors nor a torch file."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if not head.strip(b"\x00"):
        return FileKind(
            "a row of zero bytes: a download that was reserved and never written", _FETCH
        )
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _PICTURE
    if head[4:8] == b"TFL3":
        return FileKind("a TensorFlow Lite model", _CONVERT)
    if _is_tar(head):
        return FileKind("a tar archive", _UNPACK)
    if head[:1] == b"\x08" and (b"onnx" in head or b"pytorch" in head or head[2:3] == b"\x12"):
        return FileKind("an ONNX model (Protocol Buffers)", _CONVERT)
    return _text(head) or FileKind(
        "neither safetensors nor a torch file", "It is cut short, damaged, or of another kind."
    )


def _text(head: bytes) -> FileKind | None:
    text = head.decode("utf-8-sig", "ignore").strip()
    start = text[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in start:
        return FileKind(
            "an HTML page, perhaps an error or a login page saved under the file's name", _FETCH
        )
    if start.startswith("<"):
        return FileKind("XML, perhaps a server's error message", _FETCH)
    if "/annex/objects/" in start:
        return FileKind("a git-annex pointer", "Run `git annex get` in the repository.")
    if start.startswith(("{", "[")) and text.isprintable() | ("\n" in text):
        return FileKind("JSON text", "Name the file of weights; an index ends in `.index.json`.")
    if text and all(character.isprintable() or character.isspace() for character in text):
        return FileKind(f"text that begins {text[:40]!r}", _FETCH)
    return None


def _is_tar(head: bytes) -> bool:
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True

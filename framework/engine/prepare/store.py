"""Arrays in a folder, written once and mapped into memory by all processes that read them.

::

    FOLDER/about.json     what it is; names, sizes and SHA-256 of the arrays; written last
    FOLDER/NAME.npy       an array

A folder appears whole or not at all. Opening it compares every byte with ``about.json``: a second
for a gigabyte, and nothing stays in memory but the file system's own copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from engine.core.files import replacing, replacing_folder

ABOUT = "about.json"
_FORMAT = 1


class DamagedPartError(Exception):
    """What lies in a folder is not what was written there."""


class ArrayWriter:
    """Takes the arrays of a folder that is being written.

    Args:
        folder: a temporary one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def allocate(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array to fill, in a file."""
        path = self._folder / f"{name}.npy"
        if 0 in shape:  # nothing can be mapped of an empty file
            with path.open("wb") as file:
                np.save(file, np.zeros(shape, dtype))
            return np.zeros(shape, dtype)
        return open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Write an array."""
        self.allocate(name, array.dtype, array.shape)[...] = array


@contextlib.contextmanager
def writing(folder: Path, about: Mapping[str, Any]) -> Iterator[ArrayWriter]:
    """Write a folder of arrays; it takes its place at the end.

    Args:
        folder: is made, or replaced.
        about: what it is, for a person who finds it (JSON types).

    Raises:
        WriteError: the disk is full.
    """
    with replacing_folder(folder) as temporary:
        yield ArrayWriter(temporary)
        files = {path.name: _print(path) for path in sorted(temporary.iterdir())}
        whole = {"format": _FORMAT, **about, "files": files}
        text = json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
        (temporary / ABOUT).write_text(text, encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether a folder is there, and holds what was written."""
    try:
        read(folder)
    except (DamagedPartError, FileNotFoundError):
        return False
    return True


def read(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a folder by name, read-only, mapped into memory.

    Raises:
        DamagedPartError: a file is missing or was changed; says which.
        FileNotFoundError: there is no such folder.
    """
    if folder.is_dir() and not (folder / ABOUT).exists():
        raise DamagedPartError(f"{folder} has no {ABOUT}")
    if not folder.exists():
        raise FileNotFoundError(folder)
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        files = about["files"] if about.get("format") == _FORMAT else None
        if not isinstance(files, dict):
            raise DamagedPartError(f"{folder / ABOUT} is of another format")
        found = {}
        for name, said in files.items():
            path = folder / name
            if Path(name).name != name or _print(path) != said:
                raise DamagedPartError(f"{path} was changed since it was written")
            found[path.stem] = _mapped(path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedPartError(f"{folder} cannot be read: {error}") from error
    return found


def _mapped(path: Path) -> NDArray[Any]:
    array = np.load(path, mmap_mode=None if path.stat().st_size < 1 << 12 else "r",
                    allow_pickle=False)  # fmt: skip
    array.flags.writeable = False
    return np.asarray(array)  # a plain array: indexing a memmap makes one at each call


def _print(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


class Parts:
    """Parts of a large piece of work, a file each: what is there is not computed again.

    Args:
        folder: of the parts; made where it does not exist.
        count: how many there are.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self._count = folder, count
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self._count

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there yet."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(self._count) if self._path(number).name not in there]

    def write(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a part, whole or not at all."""
        with replacing(self._path(number)) as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]

    def read(self, number: int) -> dict[str, NDArray[Any]]:
        """The arrays of a part.

        Raises:
            DamagedPartError: it cannot be read; it is then gone, and missing.
        """
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # zipfile and numpy have many kinds for damaged files
            path.unlink(missing_ok=True)
            raise DamagedPartError(f"{path} cannot be read") from error

    def remove(self) -> None:
        """Remove all parts."""
        for number in range(self._count):
            self._path(number).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"

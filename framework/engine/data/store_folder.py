"""A folder for results, on this machine or in an object store: whole files by name.

URLs are fsspec's: ``s3://bucket/folder``, ``memory://folder``, ``file:///folder``. A path without a
scheme is a local folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.files import write_pieces
from engine.core.regular_file import open_regular
from engine.errors import DataError, PluginError

MAX_FILES = 1_000_000
"""Files of a folder that are looked at."""


_VERSIONS = ("ETag", "e_tag", "etag", "mtime", "LastModified", "last_modified", "created")
"""How file systems of fsspec call what changes where a file does."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a folder.

    Attributes:
        name: without the folder.
        size: in bytes.
        version: another one where the file was changed; empty where the store does not say.
    """

    name: str
    size: int
    version: str


class StoreFolder:
    """A folder of files.

    Args:
        url: a local path, or a URL of fsspec.

    Raises:
        DataError: the scheme is not known, or the store cannot be reached.
        PluginError: the package of the scheme is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self.local = Path(self.url) if "://" not in self.url else None
        self._fs: Any = None
        if self.local is None:
            self._fs, self._root = _open(self.url)

    def names(self) -> set[str]:
        """The files that there are; none where the folder does not exist.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            if self.local is not None:
                found = {path.name for path in self.local.iterdir() if path.is_file()}
            else:
                self._fs.invalidate_cache()
                found = {str(path).rsplit("/", 1)[-1] for path in self._fs.ls(self._root, False)}
        except FileNotFoundError:
            return set()
        except Exception as error:  # each store has errors of its own
            raise self._unreachable(error) from error
        if len(found) > MAX_FILES:
            raise DataError(f"{self.url} has more than {MAX_FILES:,} files")
        return found

    def files(self) -> list[StoredFile]:
        """The files that there are, by name; none where the folder does not exist.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            if self.local is not None:
                with os.scandir(self.local) as entries:
                    found = [
                        StoredFile(entry.name, entry.stat().st_size, str(entry.stat().st_mtime_ns))
                        for entry in entries
                        if entry.is_file()
                    ]
            else:
                self._fs.invalidate_cache()
                listed = self._fs.ls(self._root, True)
                found = [_stored(each) for each in listed if each["type"] == "file"]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # each store has errors of its own
            raise self._unreachable(error) from error
        if len(found) > MAX_FILES:
            raise DataError(f"{self.url} has more than {MAX_FILES:,} files")
        return sorted(found, key=lambda file: file.name)

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Bytes of a file; fewer where it ends before.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self.local is not None:
                with open_regular(self.local / name) as file:
                    file.seek(start)
                    return file.read(size)
            path = f"{self._root}/{name}"
            arrow: Any = getattr(self._fs, "fs", None)
            if hasattr(arrow, "open_input_file"):  # the wrapper's own cannot read a file's head
                with arrow.open_input_file(path) as file:
                    return file.read_at(size, start)  # type: ignore[no-any-return]
            found: bytes = self._fs.cat_file(path, start=start, end=start + size)
        except Exception as error:
            raise self._unreachable(error, name) from error
        return found

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self.local is not None:
                return (self.local / name).read_bytes()
            found: bytes = self._fs.cat_file(f"{self._root}/{name}")
        except Exception as error:
            raise self._unreachable(error, name) from error
        return found

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all (an object store shows an object when it is whole).

        Raises:
            DataError: the store cannot be written to.
            WriteError: the disk is full.
        """
        if self.local is not None:
            write_pieces(self.local / name, [data])
            return
        try:
            self._fs.pipe_file(f"{self._root}/{name}", data)
        except Exception as error:
            raise self._unreachable(error, name) from error

    def _unreachable(self, error: Exception, name: str = "") -> DataError:
        lines = str(error).strip().splitlines() or [""]
        return DataError(
            f"{self.url}{'/' if name else ''}{name}: {type(error).__name__}: {lines[0][:300]}",
            hint="is the address right, and are the store's credentials set where fsspec looks for"
            " them?",
        )


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Without s3fs, pyarrow reads and writes S3: it comes with Engine.

    Raises:
        DataError: the scheme is not known, or the store cannot be reached.
        PluginError: the package of the scheme is not installed.
    """
    import fsspec  # type: ignore[import-untyped]

    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        if not url.startswith("s3://"):
            raise PluginError(
                f"{url}: {error}", hint="install the package that it names"
            ) from error
        return _arrow_s3(url, error), url.removeprefix("s3://").rstrip("/")
    except ValueError as error:
        raise DataError(f"{url}: {error}") from error


def _arrow_s3(url: str, missing: ImportError) -> Any:
    """S3 through pyarrow; it reads the variables that the AWS command line reads."""
    from fsspec.implementations.arrow import ArrowFSWrapper  # type: ignore[import-untyped]
    from pyarrow import fs  # type: ignore[import-untyped]

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
    try:
        return ArrowFSWrapper(fs.S3FileSystem(endpoint_override=endpoint, region=region))
    except Exception as error:  # a pyarrow without S3, credentials that cannot be read
        raise PluginError(
            f"{url}: {missing}; and pyarrow says: {error}",
            hint='`pip install "engine-towers[s3]"`',
        ) from error


def _stored(about: Any) -> StoredFile:
    version = next((str(about[name]) for name in _VERSIONS if about.get(name) is not None), "")
    return StoredFile(str(about["name"]).rsplit("/", 1)[-1], int(about["size"] or 0), version)

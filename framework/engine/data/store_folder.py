"""A folder for results, on this machine or in an object store: whole files by name.

URLs are fsspec's: ``s3://bucket/folder``, ``memory://folder``, ``file:///folder``. A path without a
scheme is a local folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.files import write_pieces
from engine.errors import DataError, PluginError

MAX_FILES = 1_000_000
"""Files of a folder that are looked at."""


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
        self._local = Path(self.url) if "://" not in self.url else None
        self._fs: Any = None
        if self._local is None:
            import fsspec  # type: ignore[import-untyped]

            try:
                self._fs, self._root = fsspec.core.url_to_fs(self.url)
            except ImportError as error:
                raise PluginError(
                    f"{self.url}: {error}",
                    hint='for s3: `pip install "engine-towers[s3]"`; for others the package that'
                    " fsspec names",
                ) from error
            except ValueError as error:
                raise DataError(f"{self.url}: {error}") from error

    def names(self) -> set[str]:
        """The files that there are; none where the folder does not exist.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            if self._local is not None:
                found = {path.name for path in self._local.iterdir() if path.is_file()}
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

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self._local is not None:
                return (self._local / name).read_bytes()
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
        if self._local is not None:
            write_pieces(self._local / name, [data])
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

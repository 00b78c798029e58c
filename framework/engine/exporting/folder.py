"""The folder of an export: written whole or not at all, with a manifest of every file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import artifact
from engine.errors import ArtifactError
from engine.files import replacing_folder

FORMAT = 1
MANIFEST = "export.json"


def check_target(folder: Path) -> None:
    """Tell before the work that a folder cannot become the export.

    An earlier export is replaced, and so is an empty folder; nothing else is.

    Raises:
        ArtifactError: it exists and is neither, or lies below something that is no folder.
    """
    if folder.is_dir() and ((folder / MANIFEST).is_file() or not any(folder.iterdir())):
        return
    if folder.exists() or folder.is_symlink():
        what = "is an artifact" if artifact.is_artifact(folder) else "exists and is no export"
        raise ArtifactError(
            f"{folder} {what}, so it is not overwritten",
            hint="choose another folder with `-o`, or remove it yourself",
        )
    above = next(path for path in folder.absolute().parents if path.exists())
    if not above.is_dir():
        raise ArtifactError(f"{folder} cannot be written: {above} is no folder")


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling to write into; at the end it becomes ``folder``, whole.

    After an error or Ctrl-C nothing is left behind and an earlier export is untouched.

    Raises:
        ArtifactError: see :func:`check_target`.
    """
    folder = folder.absolute()
    check_target(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def seal(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a folder whose other files are written; returns it whole.

    Adds the format, and sha256 and bytes of every file.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    files = {
        path.name: {"sha256": artifact.sha256(path), "bytes": path.stat().st_size} for path in paths
    }
    whole = {"format": FORMAT, **manifest, "files": files}
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return whole

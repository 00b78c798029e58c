"""The folder of an export: written whole or not at all, with a manifest of every file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

from engine.core import artifact
from engine.core.files import refuse_foreign, replacing_folder, target_of
from engine.errors import ArtifactError
from engine.exchange.exported import FORMAT, LARGEST_MANIFEST, MANIFEST


def check_target(folder: Path) -> None:
    """Tell before the work that a folder cannot become the export.

    An earlier export is replaced, if nothing was added to it, and so is an empty folder; nothing
    else is.

    Raises:
        ArtifactError: it exists and is neither, or lies below something that is not a folder.
    """
    target = target_of(folder)
    if os.path.lexists(target):
        listed = _listed(target)
        if listed is None:
            found = artifact.is_artifact(target)
            what = "is an artifact" if found else "exists and is not an export"
            raise ArtifactError(
                f"{folder} {what}, so it is not overwritten",
                hint="choose another folder with `-o`, or remove it yourself",
            )
        refuse_foreign(target, listed, "the export", ArtifactError)
        return
    above = next(path for path in target.parents if path.exists())
    if not above.is_dir():
        raise ArtifactError(f"{folder} cannot be written: {above} is not a folder")


def _listed(folder: Path) -> set[str] | None:
    """Names of the files of an export; ``None`` where a folder is neither one nor empty."""
    if not folder.is_dir():
        return None
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None if any(folder.iterdir()) else set()
    try:
        stat = path.lstat()
        if not S_ISREG(stat.st_mode) or stat.st_size > LARGEST_MANIFEST:
            return None
        manifest = json.loads(path.read_bytes())
        int(manifest["format"])
        return {MANIFEST, *(str(name) for name in dict(manifest["files"]))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling to write into; at the end it becomes ``folder``, whole.

    After an error or a signal nothing is left behind and an earlier export is untouched.

    Raises:
        ArtifactError: see :func:`check_target`; or another process writes there.
        WriteError: the disk is full.
    """
    with replacing_folder(folder, check_target) as temporary:
        yield temporary


def seal(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a folder whose other files are written; returns it whole.

    Adds the format, and sha256 and bytes of every file, by its path in the folder.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": artifact.sha256(path), "bytes": path.stat().st_size
        }
        for path in paths
        if path != folder / MANIFEST
    }  # fmt: skip
    whole = {"format": FORMAT, **manifest, "files": files}
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return whole

"""The artifact: the folder that a build writes and everything else reads.

======================== =====================================================================
``engine.json``          manifest: versions, plugins and their distributions, sha256 and bytes
                         of every file, where each part's weights came from, history, scores
``config.yaml``          the resolved config, every default filled in
``model.safetensors``    the weights, in the config's storage dtype
``tokenizer.json``       the tokenizer
``clusters.safetensors`` fitted clusters and ``clusters.json`` what they are, where the config
                         has any; prediction does without them, and no limit counts them
======================== =====================================================================

Written whole or not at all: to a temporary sibling, synced, renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import ArtifactError
from engine.files import replacing_folder

FORMAT = 1
MANIFEST = "engine.json"
CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CLUSTERS = "clusters.safetensors"
CLUSTERS_JSON = "clusters.json"
CLUSTERS_PAGE = "clusters.html"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling to write into; at the end it becomes ``folder``, whole.

    An artifact that stands there already is replaced only then. After an error or Ctrl-C nothing
    is left behind and the old artifact is untouched.

    Raises:
        ArtifactError: ``folder`` exists and is no artifact, so it is not ours to replace.
    """
    folder = folder.absolute()
    check_replaceable(folder)
    with replacing_folder(folder) as temporary:
        yield temporary


def check_replaceable(folder: Path) -> None:
    """Raise ArtifactError where ``folder`` exists and is not ours to replace."""
    if folder.exists() and not _replaceable(folder):
        raise ArtifactError(
            f"{folder} exists and is no artifact, so it is not overwritten",
            hint="choose another folder with `-o`, or remove it yourself",
        )


def _replaceable(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    # Clusters that were fitted before the build lie where the build will put the artifact.
    ours = {CLUSTERS, CLUSTERS_JSON, CLUSTERS_PAGE}
    return (folder / MANIFEST).is_file() or {path.name for path in folder.iterdir()} <= ours


@contextlib.contextmanager
def amending(folder: Path, manifest: Mapping[str, Any], names: Collection[str]) -> Iterator[Path]:
    """Replace some files of an artifact, all of them or none.

    Gives a temporary sibling that holds everything else of the artifact (as hard links: nothing is
    copied), to write the files into. At the end it is sealed and takes the artifact's place.

    Args:
        folder: the artifact.
        manifest: its new manifest; digests of the files that stay are taken from it.
        names: the files to be written.
    """
    with writing(folder) as temporary:
        shutil.copytree(
            folder,
            temporary,
            symlinks=True,
            ignore=lambda where, _: {MANIFEST, *names} if Path(where) == folder else set(),
            copy_function=_link,
            dirs_exist_ok=True,
        )
        yield temporary
        kept = {name: entry for name, entry in manifest["files"].items() if name not in names}
        new = [temporary / name for name in names if (temporary / name).is_file()]
        _write_manifest(temporary, manifest, {**kept, **_digests(new)})


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose other files are written: adds their sha256 and bytes."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    _write_manifest(folder, manifest, _digests(paths))


def _digests(paths: Collection[Path]) -> dict[str, dict[str, Any]]:
    return {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in paths}


def _write_manifest(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, **manifest, "files": files}, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_artifact(folder: Path) -> bool:
    """Whether a path is a folder with a manifest."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of an artifact.

    Args:
        folder: the artifact.
        verify: compare size and sha256 of every file (reads them whole).

    Raises:
        ArtifactError: no artifact, of a newer format, or a file is missing or was changed.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", hint="`engine build CONFIG` writes one")
    if not path.is_file():
        raise ArtifactError(
            f"{folder} is no artifact: it has no {MANIFEST}",
            hint="`engine build CONFIG` writes one",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = manifest["files"]
        entries = {str(name): (str(f["sha256"]), int(f["bytes"])) for name, f in files.items()}
        newest = int(manifest["format"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    if newest > FORMAT:
        raise ArtifactError(
            f"{folder} is of artifact format {newest}; this Engine reads up to {FORMAT}",
            hint="upgrade Engine",
        )
    for name, (digest, size) in entries.items():
        _check_file(folder, name, digest, size, verify=verify)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if name not in entries:
            raise ArtifactError(f"{path} lists no {name}")
    return dict(manifest)


def _check_file(folder: Path, name: str, digest: str, size: int, *, verify: bool) -> None:
    if not _PLAIN_NAME.fullmatch(name):
        raise ArtifactError(f"{folder / MANIFEST} names a file {name!r}, which is no plain name")
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{path} is missing", hint="build or copy the artifact again")
    if path.stat().st_size != size or (verify and sha256(path) != digest):
        raise ArtifactError(
            f"{path} was changed since the artifact was written (its sha256 or size differs)",
            hint="build or copy the artifact again",
        )

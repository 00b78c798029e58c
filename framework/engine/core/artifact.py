"""The artifact: the folder that a build writes and everything else reads.

======================== =====================================================================
``engine.json``          manifest: versions, plugins and their distributions, sha256 and bytes
                         of every file, where each part's weights came from, history, scores
``config.yaml``          the resolved config, every default filled in
``model.safetensors``    the weights, stored as the config's ``storage`` says
``tokenizer.json``       the tokenizer
``clusters.safetensors`` fitted clusters and ``clusters.json`` what they are, where the config
                         has any; prediction does without them, and ``limits.weights`` does not
                         count them
======================== =====================================================================

Written whole or not at all, by ``engine.core.files``; only the files that the manifest lists are
ever replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from engine.core.files import recover, refuse_foreign, replacing_folder, target_of
from engine.core.manifest import FORMAT, parse_manifest
from engine.core.manifest import MANIFEST as MANIFEST
from engine.core.verified import is_known, remember, state_of
from engine.errors import ArtifactError

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CLUSTERS = "clusters.safetensors"
CLUSTERS_JSON = "clusters.json"
CLUSTERS_PAGE = "clusters.html"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling to write into; at the end it becomes ``folder``, whole.

    An artifact that stands there already is replaced only then. After an error or a signal nothing
    is left behind and the old artifact is untouched. See
    :func:`engine.core.files.replacing_folder`.

    Raises:
        ArtifactError: ``folder`` exists and is not ours to replace, or another process writes it.
        WriteError: the disk is full.
    """
    with replacing_folder(folder, check_replaceable) as temporary:
        yield temporary


def check_replaceable(folder: Path) -> None:
    """Raise ArtifactError where ``folder`` exists and holds anything but what we wrote ourselves.

    Ours are the files that the manifest of an artifact lists, and clusters that were fitted before
    the build, which lie where the build will put the artifact. An empty folder may be replaced.
    """
    folder = target_of(folder)
    if not os.path.lexists(folder):
        return
    ours = _ours(folder) if folder.is_dir() else None
    if ours is None:
        raise ArtifactError(
            f"{folder} exists and is not an artifact, so it is not overwritten",
            hint="choose another folder with `-o`, or remove it yourself",
        )
    refuse_foreign(folder, ours, "the artifact", ArtifactError)


def _ours(folder: Path) -> set[str] | None:
    """Names of the files that are ours; ``None`` where nothing in the folder is."""
    if os.path.lexists(folder / MANIFEST):
        listed = _listed(folder / MANIFEST)
        return None if listed is None else {MANIFEST, *listed}
    ours = {CLUSTERS, CLUSTERS_JSON, CLUSTERS_PAGE}
    names = {path.name for path in folder.iterdir()}
    return ours if names & ours or not names else None


def _listed(path: Path) -> set[str] | None:
    """The files that a manifest lists; ``None`` where it is not a manifest of an artifact."""
    try:
        if not S_ISREG(path.lstat().st_mode):
            return None
        files = set(parse_manifest(path)["files"])
    except (OSError, ArtifactError):
        return None
    return files if {CONFIG, WEIGHTS, TOKENIZER} <= files else None


@contextlib.contextmanager
def amending(folder: Path, manifest: Mapping[str, Any], names: Collection[str]) -> Iterator[Path]:
    """Replace some files of an artifact, all of them or none.

    Gives a temporary sibling that holds everything else of the artifact (as hard links: nothing is
    copied, opened or changed), to write the files into. At the end it is sealed and takes the
    artifact's place.

    Args:
        folder: the artifact.
        manifest: its new manifest; digests of the files that stay are taken from it.
        names: the files to be written.

    Raises:
        ArtifactError: it was written by another process since ``manifest`` was read.
    """
    folder = target_of(folder)
    new = {MANIFEST, *names}
    kept: set[str] = set()

    def check(place: Path) -> None:
        came = sorted({path.name for path in place.iterdir()} - kept - new) if kept else []
        if came:
            raise ArtifactError(f"{folder / came[0]} came while the artifact was being written",
                                hint="give the same command again")  # fmt: skip

    with replacing_folder(folder, check, kept=kept) as temporary:
        if _listed(folder / MANIFEST) != set(manifest["files"]) or not _unchanged(folder, manifest):
            raise ArtifactError(
                f"{folder} was written by another process in the meantime",
                hint="give the same command again",
            )
        for path in folder.iterdir():
            if path.name not in new:
                kept.add(path.name)
                _take_over(path, temporary / path.name)
        yield temporary
        stay = {name: entry for name, entry in manifest["files"].items() if name not in names}
        written = [temporary / name for name in names if (temporary / name).is_file()]
        _write_manifest(temporary, manifest, {**stay, **_digests(written)})


def _unchanged(folder: Path, manifest: Mapping[str, Any]) -> bool:
    now = json.loads((folder / MANIFEST).read_bytes())
    return bool(now["files"] == manifest["files"])


def _take_over(source: Path, target: Path) -> None:
    """Have the same file, link or folder under another name, without opening anything."""
    mode = source.lstat().st_mode
    if S_ISLNK(mode):
        target.symlink_to(source.readlink())
    elif S_ISDIR(mode):
        target.mkdir()
        for path in source.iterdir():
            _take_over(path, target / path.name)
        shutil.copystat(source, target)
    else:
        _link(source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:  # a file system without hard links
        if not S_ISREG(source.lstat().st_mode):
            raise ArtifactError(
                f"{source} is not a regular file and cannot be kept",
                hint="move it out of the artifact",
            ) from error
        shutil.copy2(source, target, follow_symlinks=False)


def seal(folder: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write the manifest of a folder whose other files are written; their sha256 and bytes."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    files = _digests(paths)
    _write_manifest(folder, manifest, files)
    return files


def _digests(paths: Collection[Path]) -> dict[str, dict[str, Any]]:
    return {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in paths}


def _write_manifest(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    whole = {"format": FORMAT, **manifest, "files": files}
    try:
        text = json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False)
    except ValueError as error:  # no reader would take it
        raise ArtifactError(
            f"{folder}: a number of the manifest is not finite, so nothing was written"
        ) from error
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of an artifact, its manifest with them."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def is_artifact(folder: Path) -> bool:
    """Whether a path is a folder with a manifest."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of an artifact.

    Args:
        folder: the artifact.
        verify: compare size and sha256 of every file. It is read whole, unless that was done for
            the file in its present state before (``engine.core.verified``).

    Raises:
        ArtifactError: no artifact, of a newer format, or a file is missing or was changed.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        recover(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", hint="`engine build CONFIG` writes one")
    if not path.is_file():
        unfinished = (folder / "start" / MANIFEST).is_file()
        raise ArtifactError(
            f"{folder} is not an artifact: it has no {MANIFEST}",
            hint="it is a training run that has not finished: `engine train` with `--resume`"
            " finishes it"
            if unfinished
            else "`engine build CONFIG` writes one; a finished training run serves too",
        )
    manifest = parse_manifest(path)
    entries = {name: (entry["sha256"], entry["bytes"]) for name, entry in manifest["files"].items()}
    for name, (digest, size) in entries.items():
        check_file(folder, name, digest, size, verify=verify)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if name not in entries:
            raise ArtifactError(f"{path} lists no {name}")
    return manifest


def check_file(folder: Path, name: str, digest: str, size: int, *, verify: bool) -> None:
    """Raise ArtifactError where a listed file is missing, or not as it was written."""
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{path} is missing", hint="build or copy the artifact again")
    if path.stat().st_size != size or (verify and not _is_whole(path, digest)):
        raise ArtifactError(
            f"{path} was changed since the artifact was written (its sha256 or size differs)",
            hint="build or copy the artifact again",
        )


def has_digest(digest: str) -> str:
    """What ``engine.core.verified`` remembers of a file whose sha256 was computed."""
    return f"sha256:{digest}"


def _is_whole(path: Path, digest: str) -> bool:
    """Whether a file has a sha256, by reading it, or by what is known of its present state."""
    fact = has_digest(digest)
    if is_known(path, (fact,)):
        return True
    state = state_of(path)
    if sha256(path) != digest:
        return False
    remember(path, state, (fact,))
    return True

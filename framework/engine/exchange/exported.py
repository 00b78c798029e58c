"""The folder of an export as its readers see it: the names in it, and a manifest that is checked.

``engine.exchange`` writes these folders; ``engine.exchange.running`` answers with the ones for
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from engine.core import artifact
from engine.core.manifest import read_object
from engine.core.size import PartSize, SizeReport
from engine.errors import ArtifactError
from engine.printable import one_line

MANIFEST = "export.json"
FORMAT = 1
CONFIG = "engine_config.yaml"
"""The resolved config, without which no reader knows the preprocessing and the templates."""
TOKENIZER = "engine_tokenizer.bin"
"""The tokenizer in the form of its plugin: exact where ``tokenizer.json`` cannot be."""
LARGEST_MANIFEST = 64 << 20
"""Bytes. A tokenizer that differs on many texts names them there."""

_ANSWERING = (artifact.WEIGHTS, artifact.CONFIG, artifact.TOKENIZER)

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class _File(_Strict):
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, lt=2**63)]


class _Tower(_Strict):
    file: _Name
    outputs: Annotated[list[str], Field(min_length=1, max_length=2)]


class _Export(_Strict):
    format: Annotated[int, Field(ge=1, le=FORMAT)]
    to: str
    files: Annotated[dict[_Name, _File], Field(max_length=1000)]


class _OnnxExport(_Export):
    logit_scale: float
    logit_bias: float | None = None
    vision: _Tower
    text: _Tower


def is_export(folder: Path) -> bool:
    """Whether a path is a folder that ``engine export`` wrote."""
    return (folder / MANIFEST).is_file()


def export_size(folder: Path, limit: int | None = None) -> SizeReport:
    """The bytes of an export: all its files, one part each; parameters are not counted.

    Args:
        folder: the export, of any program.
        limit: bytes allowed for all files together.

    Raises:
        ArtifactError: its manifest is damaged, or a file that it lists is missing or was changed.
    """
    found = read_object(folder / MANIFEST, LARGEST_MANIFEST)
    try:
        files = _Export.model_validate(found).files
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"])))
        raise ArtifactError(f"{folder / MANIFEST} is damaged: {place}: {first['msg']}") from error
    for name, entry in files.items():
        artifact.check_file(folder, name, entry.sha256, entry.bytes, verify=False)
    inside = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    parts = tuple(PartSize(name, "", 0, 0, size) for name, size in inside.items())
    return SizeReport(folder.name, parts, 0, limit, folder=sum(inside.values()), kind="export")


def identity_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of the files of an artifact that its answers follow from, by its manifest."""
    files = manifest.get("files", {})
    return {name: files[name]["sha256"] for name in _ANSWERING if name in files}


def read_onnx_export(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of an export for onnxruntime, checked.

    Args:
        folder: the export.
        verify: size and sha256 of every file are compared, not only the sizes.


    Raises:
        ArtifactError: not such an export, written before the backend existed, or a file is missing
            or was changed.
    """
    path = folder / MANIFEST
    found = read_object(path, LARGEST_MANIFEST)
    try:
        _Export.model_validate(found)
        if found["to"] != "onnx":
            raise ArtifactError(
                f"{folder} is an export for {one_line(found['to'], 40)}, which Engine does not run",
                hint="`engine export ARTIFACT --to onnx` writes one that it runs",
            )
        _OnnxExport.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"])))
        raise ArtifactError(f"{path} is damaged: {place}: {first['msg']}") from error
    files = found["files"]
    for needed in (CONFIG, TOKENIZER, found["vision"]["file"], found["text"]["file"]):
        if needed not in files:
            raise ArtifactError(
                f"{path} lists no {needed}", hint="export the artifact again with this Engine"
            )
    for name, entry in files.items():
        artifact.check_file(folder, name, entry["sha256"], entry["bytes"], verify=verify)
    return found

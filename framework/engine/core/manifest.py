"""The manifest of an artifact, read without trust: every value has its type and its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.core.model_path import MANIFEST as MANIFEST
from engine.core.strict_json import parse_json
from engine.errors import ArtifactError
from engine.printable import one_line

FORMAT = 1
MAX_BYTES = 64 << 20
"""Bytes of a manifest that are read; a long history of training has some thousand."""


Count = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A number of things. JSON of other programs holds no larger one exactly."""

Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\z", max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class File(_Strict):
    """A file of the artifact."""

    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
    bytes: Count


class ManifestOrigin(_Strict):
    """Where the weights of a part came from."""

    source: Text
    initialised: Text
    reason: Text = ""
    warnings: list[Text] = []


class ManifestTokenizer(_Strict):
    """Where the tokenizer came from."""

    origin: Text
    vocab_size: Count
    warnings: list[Text] = []


class ClustersNote(_Strict):
    """What is said of the clusters."""

    warnings: list[Text] = []


class Stored(_Strict):
    """Tensors that are stored in the same way."""

    use: Text | None
    settings: dict[Text, Any] = {}
    tensors: Annotated[
        dict[Text, Annotated[list[Count], Field(max_length=64)]], Field(max_length=1_000_000)
    ]


class Manifest(_Strict):
    """``engine.json``. What else a manifest holds is kept as it is."""

    format: Annotated[int, Field(ge=1, le=FORMAT)]
    files: Annotated[dict[Name, File], Field(max_length=1000)]
    engine: Text = ""
    name: Text = ""
    weights: dict[Text, ManifestOrigin] = {}
    tokenizer: ManifestTokenizer = ManifestTokenizer(origin="", vocab_size=0)
    clusters: ClustersNote = ClustersNote()
    storage: list[Stored] = []
    stages: list[dict[str, Any]] = []
    scores: dict[str, Any] = {}
    plugins: list[dict[str, Text]] = []
    num_parameters: Count = 0
    num_buffers: Count = 0


def read_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a small file.

    Args:
        path: the file.
        max_bytes: a larger file is refused.

    Raises:
        ArtifactError: it cannot be read, is too large, or is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise ArtifactError(f"{path} has more than {max_bytes:,} bytes")
    try:
        found = parse_json(data)
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is damaged: it is not a JSON object")
    return found


def parse_manifest(path: Path) -> dict[str, Any]:
    """What a manifest says, as it says it, checked.

    Raises:
        ArtifactError: not JSON, of a newer format, or a value is impossible.
    """
    found = read_object(path, MAX_BYTES)
    newest = found.get("format")
    if isinstance(newest, int) and newest > FORMAT:
        raise ArtifactError(
            f"{path.parent} is of artifact format {newest!s:.20}; this Engine reads up to {FORMAT}",
            hint="upgrade Engine",
        )
    try:
        Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"])))
        raise ArtifactError(f"{path} is damaged: {place}: {first['msg']}") from error
    return found

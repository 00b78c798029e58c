"""The header of a safetensors file: names, dtypes, shapes and places, without a tensor.

Read here rather than by the library, so that ``engine size`` of an artifact needs neither it nor
numpy. Source: github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engine.contracts.storage import StoredTensor
from engine.core.regular_file import open_regular
from engine.core.strict_json import parse_json
from engine.errors import ArtifactError

MAX_BYTES = 100_000_000
"""Of a header, as the library has it."""

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: Annotated[str, Field(max_length=20)]
    shape: Annotated[list[_Count], Field(max_length=64)]
    data_offsets: Annotated[list[_Count], Field(min_length=2, max_length=2)]


_ENTRIES = TypeAdapter(dict[str, _Entry])


def read_header(path: Path) -> dict[str, StoredTensor]:
    """What a safetensors file holds, by name.

    Raises:
        ArtifactError: it is not a whole safetensors file.
    """
    try:
        with open_regular(path) as file:
            whole = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_BYTES, whole - 8):
                raise ValueError(f"its header would have {length:,} bytes")
            entries = _entries(parse_json(file.read(length)))
        _check_places(entries, whole - 8 - length)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not a whole safetensors file ({error})",
            hint="the file is cut short or damaged: copy or build it again",
        ) from error
    return {name: StoredTensor(e.dtype, tuple(e.shape)) for name, e in entries.items()}


def _entries(found: Any) -> dict[str, _Entry]:
    if not isinstance(found, dict):
        raise ValueError("its header is not a JSON object")
    found.pop("__metadata__", None)
    try:
        return _ENTRIES.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"its header is damaged: {first['msg']}") from error


def _check_places(entries: dict[str, _Entry], there: int) -> None:
    """Raise ValueError unless the tensors fill the rest of the file, side by side."""
    place = 0
    for begin, end in sorted((e.data_offsets[0], e.data_offsets[1]) for e in entries.values()):
        if begin != place or end < begin:
            raise ValueError("its tensors overlap or leave gaps")
        place = end
    if place != there:
        raise ValueError(f"its tensors need {place:,} bytes, and {there:,} are there")

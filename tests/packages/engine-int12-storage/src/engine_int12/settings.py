"""What a config may say to `int12`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts import StorageSettings


class Int12Settings(StorageSettings):
    """Two numbers in three bytes."""

    block: int = Field(256, ge=2, le=65_536, multiple_of=2, description="numbers of a scale")

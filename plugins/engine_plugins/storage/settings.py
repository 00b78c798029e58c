"""Settings of the storages. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contracts.storage import StorageSettings


class FloatSettings(StorageSettings):
    """A floating-point dtype: nothing to choose."""


class Int8RowsSettings(StorageSettings):
    """Eight bits a number and one scale a row: nothing to choose."""


class Int8GroupsSettings(StorageSettings):
    """Eight bits a number and one scale for each group."""

    group: Literal[32, 64, 128] = Field(64, description="numbers that share a scale")


class Int4GroupsSettings(StorageSettings):
    """Four bits a number and one scale for each group."""

    group: Literal[32, 64, 128] = Field(32, description="numbers that share a scale")
    symmetric: bool = Field(
        True,
        description="false: each group also has a zero point of 4 bits, for numbers that lie more"
        " to one side of 0",
    )


class Float8Settings(StorageSettings):
    """Eight bits a number, with an exponent of its own: nothing to choose."""


class PqSettings(StorageSettings):
    """One byte for each vector of some numbers."""

    width: Literal[2, 4, 8, 16] = Field(
        4, description="numbers that one byte stands for; a divisor of the row's length"
    )

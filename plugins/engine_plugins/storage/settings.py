"""Settings of the storages. Nothing here imports torch."""

from __future__ import annotations

from engine.contracts.storage import StorageSettings


class FloatSettings(StorageSettings):
    """A floating-point dtype: nothing to choose."""


class Int8RowsSettings(StorageSettings):
    """Eight bits a number and one scale a row: nothing to choose."""

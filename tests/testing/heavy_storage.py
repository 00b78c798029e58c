"""A storage whose module imports torch."""

from __future__ import annotations

import torch  # noqa: F401 - what is wrong here
from wrong_storages import RightStorage


class HeavyStorage(RightStorage):
    """Right otherwise."""

"""Settings whose module imports torch, which it must not."""

from __future__ import annotations

import torch
from kit_settings import TextSettings


class HeavySettings(TextSettings):
    """As the others."""

    seed: int = torch.iinfo(torch.int32).max

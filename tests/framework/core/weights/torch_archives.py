"""Torch archives, written and rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def some_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    return {
        "float32": torch.randn(3, 5),
        "float64": torch.randn(4, dtype=torch.float64),
        "float16": torch.randn(4).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "int64": torch.arange(7),
        "int8": torch.arange(7, dtype=torch.int8),
        "bool": torch.tensor([True, False, True]),
        "complex": torch.randn(3, dtype=torch.complex64),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "view": base[1:4, 2:7],
        "transposed": base.t(),
        "expanded": torch.arange(3.0).expand(4, 3),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        "parameter again": nn.Parameter(torch.randn(1), requires_grad=False),
    }


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path

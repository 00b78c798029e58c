"""A teacher to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import TeacherSettings
from pydantic import Field


class ${class_name}Settings(TeacherSettings):
    """$title."""

    width: int = Field(64, ge=2, le=4096, description="length of a vector")
'''

PLUGIN = '''\
"""`$name`: a frozen model whose outputs another model learns from.

Its contract: engine/contracts/teacher.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from engine.contracts import Teacher
from numpy.typing import NDArray

from .settings import ${class_name}Settings


class $class_name(Teacher):
    """$title.

    A teacher of images sets `gives` to both and has `encode_images`, too.
    """

    gives = frozenset({"text"})

    def __init__(self, settings: ${class_name}Settings) -> None:
        super().__init__(settings)
        self.width = settings.width

    def identity(self) -> str:
        """Everything that the numbers follow from: what is kept of it is found by this."""
        return f"random directions of words, 1, width {self.width}"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width]; a text without words is 0."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                seed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
                vectors[row] += np.random.default_rng(seed).standard_normal(self.width)
        return vectors
'''

PACKAGE = PackageKind(
    file="teacher",
    contract="Teacher",
    contract_module="engine.contracts.teacher",
    summary="a random direction for each word, and their sum",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={
        "loss": "{use: contrastive}\n        - {use: distill, teacher: mine, weight: 0.1}",
        "teachers": "\n  teachers:\n    mine: {use: $name}",
    },
)

"""Teachers: frozen models whose outputs a model learns from. Nothing here imports torch.

A config names them in ``train.teachers``, and losses read what they give::

    train:
      teachers: {minilm: {use: my_teacher, model: "hf:owner/name", language: en}}
      stages: [{losses: [{use: my_loss, teacher: minilm}]}]

Each distinct text or image goes through a teacher once; what it gave is kept in the activation
cache under the teacher's :meth:`Teacher.identity`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from engine.contracts.settings import Settings
from engine.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class TeacherSettings(Settings):
    """Base of every teacher's settings."""

    language: str | None = Field(
        None,
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
        description="the teacher reads a row's texts in this language, their weighted mean where"
        " there are several; null: the text that the text encoder reads",
    )


class Teacher(ABC):
    """Texts, images or both become vectors, always the same ones.

    What it gives does not depend on the other texts or images of a call, so that it can be kept.
    Like a dataset it is built in the process that uses it.

    Attributes:
        width: numbers of a vector; texts and images have the same.
        gives: ``"text"``, ``"image"`` or both.
    """

    width: int
    gives: frozenset[str] = frozenset({"text"})

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings

    def identity(self) -> str:
        """Names everything that its numbers follow from: weights, settings, code.

        Two teachers of one identity give the same vectors. Any text; Engine takes its digest.
        """
        raise PluginError(f"{type(self).__name__} has no identity()")

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width] float32, finite. Engine hands over texts of like length.

        Where losses compare directions, rows of any length will do.
        """
        raise PluginError(f"{type(self).__name__} reads no texts")

    def encode_pieces(self, pieces: Sequence[str]) -> NDArray[np.float32]:
        """[N] pieces of a vocabulary, as it spells them -> [N, W] float32, finite, any width W.

        From these a table of static embeddings begins. By default a piece is read as a text,
        without the signs that say whether a word begins or goes on there; a teacher that has the
        piece in its own vocabulary does better.
        """
        return self.encode_texts([bare_piece(piece) for piece in pieces])

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """[N] images, RGB, of any size -> [N, width] float32, finite."""
        raise PluginError(f"{type(self).__name__} reads no images")


def bare_piece(piece: str) -> str:
    """The letters of a piece: ``##ing`` -> ``ing``, ``▁кот`` -> ``кот``, ``cat</w>`` -> ``cat``."""
    bare = piece.removeprefix("##").removesuffix("</w>").strip("▁Ġ")
    return bare or piece

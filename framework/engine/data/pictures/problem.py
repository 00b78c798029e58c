"""What is raised where a picture cannot be used."""

from __future__ import annotations


class PictureError(ValueError):
    """A picture that is damaged, incomplete, too large, or whose values can be read in two ways."""


class DamagedError(PictureError):
    """A file whose data do not decode: damaged, or not all there."""

    def __init__(self, how: str) -> None:
        super().__init__(f"does not decode: {how}")

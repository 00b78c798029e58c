"""The formats of data that Engine itself writes and is given, by the words for them.

A dataset plugin that reads one says so when it is registered: ``Plugin(..., reads=(CLICK_LOG,))``.
"""

from __future__ import annotations

from typing import Final

CLICK_LOG: Final = "metadata.json with images/"
"""Training data: a JSON object a line, ``image`` and ``queries``, and a folder of images."""

SHARDS: Final = "tars or parquet with pictures"
"""Training data: WebDataset tars, or tables with a column of picture files."""

ZERO_SHOT: Final = "classes.json with img/"
"""Evaluation data: class names and a folder of images, their classes in a file of their own."""

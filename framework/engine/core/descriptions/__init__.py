"""Descriptions: what lies beside weights and vocabularies, read and held against a config.

``engine.core.build`` and ``engine.exchange.importing`` call it before they trust tensors:
:mod:`files` finds and reads ``config.json`` and its like, :mod:`programs` takes them apart,
:mod:`pictures` and :mod:`hold` compare. What a setting means to a tower or a tokenizer
is the plugin's own affair: start reading at ``engine.contracts.description``.
"""

from engine.core.descriptions.files import (
    BESIDE_VOCABULARY,
    describe_files,
    describe_open_clip,
    describe_vocabulary,
    describe_weights,
    find_beside,
    read_beside,
)
from engine.core.descriptions.hold import (
    TOKENIZER,
    check,
    differences,
    text_end,
    tokenizer_differences,
)
from engine.core.descriptions.pictures import PICTURES, picture_differences

__all__ = [
    "BESIDE_VOCABULARY",
    "PICTURES",
    "TOKENIZER",
    "check",
    "describe_files",
    "describe_open_clip",
    "describe_vocabulary",
    "describe_weights",
    "differences",
    "find_beside",
    "picture_differences",
    "read_beside",
    "text_end",
    "tokenizer_differences",
]

"""Weights: where they come from, read without ever running code.

``kinds`` tells by its first bytes what a file is. Safetensors are read by their library, torch
files by ``torch_files``, whose ``pickles`` builds tensors and plain containers and nothing else.
``wrappers`` takes off what training programs put around a state dict. ``stored`` decodes the
weights of an artifact.
"""

from engine.core.weights.checkpoint import read_checkpoint, read_safetensors
from engine.core.weights.sources import fetch, find_checkpoint
from engine.core.weights.stored import read_and_keep, read_weights, to_array

__all__ = [
    "fetch",
    "find_checkpoint",
    "read_and_keep",
    "read_checkpoint",
    "read_safetensors",
    "read_weights",
    "to_array",
]

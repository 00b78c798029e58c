"""Fingerprints of towers: two towers of one fingerprint give the same features.

Vectors that stand for a tower's output carry its fingerprint, so that another tower's are refused.
"""

from __future__ import annotations

import hashlib

import torch

from engine.contracts.dataset import ActivationPoint
from engine.contracts.tower import Tower, VisionTower
from engine.errors import DataError


def tower_fingerprint(tower: Tower) -> str:
    """Names a tower by its weights, 32 hexadecimal digits.

    Every tensor of its state dict counts, by name, shape and number (floats as float32). How a
    picture is prepared does not: the same tower may be given pictures of other sizes.

    Args:
        tower: its weights loaded.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        plain = tensor.detach().to("cpu")
        plain = (plain.float() if plain.is_floating_point() else plain).contiguous()
        digest.update(f"{name}:{plain.dtype}:{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def check_point(name: str, point: ActivationPoint, tower: VisionTower) -> None:
    """Refuse vectors that do not stand where the tower's own features do.

    Args:
        name: of the data set.
        point: what it says of its vectors.
        tower: the model's vision tower, its weights loaded.

    Raises:
        DataError: of another point, of another width, or of another tower.
    """
    if point.modality != "image" or point.point != "pooled":
        raise DataError(
            f"data set `{name}` has vectors at `{point.modality}.{point.point}`; training takes"
            " those at `image.pooled`",
            hint="store what the vision tower gives before its projection",
        )
    if point.width != tower.width:
        raise DataError(
            f"data set `{name}` has vectors of {point.width} numbers; the vision tower gives"
            f" {tower.width}"
        )
    own = tower_fingerprint(tower)
    if point.fingerprint != own:
        raise DataError(
            f"data set `{name}` has vectors of another vision tower (fingerprint"
            f" {point.fingerprint}, the model's is {own})",
            hint="compute the vectors with the model's own tower and weights, and store its"
            " fingerprint beside them",
        )

"""Seeds: everything random is a pure function of the config's seed and of the place in the run."""

from __future__ import annotations

import hashlib


def seed_of(*parts: int | str) -> int:
    """A seed (63 bits) for one purpose: the same parts, the same seed."""
    text = ":".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1

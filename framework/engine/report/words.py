"""Numbers in words, the same on every page."""

from __future__ import annotations

import math

NONE = "–"
"""What stands where a number does not apply or was not measured."""


def human(value: float) -> str:
    """A count with at most three digits: ``1.2M``, ``35k``, ``7``."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            scaled = value / scale
            return f"{scaled:.0f}{unit}" if abs(scaled) >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.2g}"


def percent(share: float) -> str:
    """A share (0 to 1) in percent; small shares get the digits that they need."""
    if share == 0 or share >= 0.1:
        return f"{100 * share:.0f}%"
    if share >= 0.001:
        return f"{100 * share:.1f}%"
    return "<0.1%"


def size(count: int) -> str:
    """Bytes with three digits: ``12.3 MB`` (10^6 bytes, as limits are written)."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= one:
            value = count / one
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{count} B"


def number(value: float | None, digits: int = 1) -> str:
    """A number with that many decimals; a dash where it is unknown or not finite."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"

"""Checks the plugin against its contract, and the packing against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
from engine_int12.settings import Int12Settings
from engine_int12.storage import Int12

from engine.testing import Check, plugin_checks


@plugin_checks("storage", "int12", {"block": 16})
def test_contract(check: Check) -> None:
    check()


def test_two_numbers_in_three_bytes() -> None:
    array = np.array([2047.0, -1.0, 0.5, 4.0], np.float32)
    parts = Int12(Int12Settings()).encode(array)
    assert parts[".scale"].array.tolist() == [1.0]
    # 4095 = 0xFFF and 2047 = 0x7FF; 2048 (0.5 goes to the even 0) = 0x800 and 2052 = 0x804.
    assert parts[".packed"].array.tolist() == [[0xFF, 0xFF, 0x7F], [0x00, 0x48, 0x80]]

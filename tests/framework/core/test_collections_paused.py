"""Collection is off inside, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from engine.core.collections_paused import without_collections


@pytest.mark.parametrize("before", [True, False])
def test_collection_is_as_it_was_afterwards(before: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(KeyError), without_collections():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is before
    finally:
        (gc.enable if was else gc.disable)()

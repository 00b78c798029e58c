"""What the tests of key layouts share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import engine.importing


@pytest.fixture
def no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test, whose texts are ids already, the training of a tokenizer."""
    stand_in = SimpleNamespace(origin="none", vocab_size=1)
    monkeypatch.setattr(engine.importing, "make_tokenizer", lambda config: stand_in)

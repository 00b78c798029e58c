"""What the tests of checkpoint adapters share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import engine.exchange.importing


@pytest.fixture
def no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test, whose texts are ids already, the training of a tokenizer."""
    stand_in = SimpleNamespace(origin="none", vocab_size=1)
    monkeypatch.setattr(engine.exchange.importing, "make_tokenizer", lambda config: stand_in)

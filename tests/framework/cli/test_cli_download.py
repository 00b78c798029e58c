"""``engine data download``: what it says of addresses that it does not connect to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Engine = Callable[..., tuple[int, str, str]]


def test_the_option_for_private_addresses_is_named(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "queries.json").write_text(json.dumps({"image": 1, "queries": ["кот"]}) + "\n")
    line = json.dumps({"image": 1, "url": "http://127.0.0.1:9/1.jpg"})
    (tmp_path / "images.json").write_text(line + "\n")
    _, out, err = engine("data", "download", "queries.json", "images.json", "out")
    words = " ".join(out.split())
    assert "why: private address 1" in words, err
    assert "1 addresses are private" in words
    assert "--allow-private" in words

"""``engine eval --predictions``: how many classes there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Engine = Callable[..., tuple[int, str, str]]


def test_classes_that_nobody_names_are_counted_and_said(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text('{"pets": {"a": 0, "b": 4}}')
    (tmp_path / "p.json").write_text('{"pets": {"a": 0, "b": 1}}')
    arguments = ("eval", "--predictions", tmp_path / "p.json", "--truth", tmp_path / "gt.json")
    code, out, err = engine(*arguments)
    assert code == 0, err
    assert "nobody names the classes of pets" in " ".join(out.split())
    found = json.loads(engine(*arguments, "--json")[1])
    assert (found["classes_counted"], found["chance"]) == (["pets"], 20.0)
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "classes.json").write_text(json.dumps(list("абвгдежзик")))
    found = json.loads(engine(*arguments, "--json")[1])
    assert (found["classes_counted"], found["chance"]) == ([], 10.0)
    (tmp_path / "pets" / "classes.json").write_text('["кот"]')  # fewer than the truth names
    code, _, err = engine(*arguments)
    assert code == 2
    assert "class" in err

"""``engine size`` in a pull request: bases, Markdown, badges, limits with units, exports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import CONFIG

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A config."""
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path / "small.yaml"


@pytest.fixture
def base(engine: Engine, small: Path, tmp_path: Path) -> Path:
    """What the config had before."""
    code, out, _ = engine("size", small.name, "--json")
    assert code == 0
    (tmp_path / "last.json").write_text(out, encoding="utf-8")
    return tmp_path / "last.json"


def an_export(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder as `engine export` leaves it."""
    folder.mkdir()
    listed = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "export.json").write_text(json.dumps({"format": 1, "to": "onnx", "files": listed}))
    return folder


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("storage.default=float32", "no change"),
        ("storage.default=float16", "-"),
        ("storage.default=int8_rows", "-"),
    ],
)
def test_a_diff_in_markdown(engine: Engine, small: Path, base: Path, override: str, words: str
) -> None:  # fmt: skip
    before = json.loads(base.read_text())["models"][0]["bytes"]
    code, out, _ = engine("size", small.name, "--base", base, "--format", "md", "--set", override)
    now = json.loads(engine("size", small.name, "--set", override, "--json")[1])["models"][0]
    assert code == 0
    row = next(line for line in out.splitlines() if f"{before:,}" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == [f"{before:,}", f"{now['bytes']:,}"]
    assert cells[3].startswith(words)
    assert ("Changed parts" in out) == (before != now["bytes"])
    if before != now["bytes"]:
        assert f"{now['bytes'] - before:+,} bytes" in cells[3]


def test_base_in_json_and_in_words(engine: Engine, small: Path, base: Path) -> None:
    before = json.loads(base.read_text())["models"][0]["bytes"]
    _, out, _ = engine("size", small.name, "--base", base, "--json")
    assert json.loads(out)["models"][0]["base_bytes"] == before
    _, out, _ = engine("size", small.name, "--base", base)
    assert "no change against the base" in out


def test_models_are_matched_by_path_then_by_name(engine: Engine, small: Path, tmp_path: Path
) -> None:  # fmt: skip
    models: list[dict[str, Any]] = [
        {"name": "other", "path": small.name, "bytes": 7},
        {"name": json.loads(engine("size", small.name, "--json")[1])["models"][0]["name"],
         "path": "elsewhere.yaml", "bytes": 8},
    ]  # fmt: skip
    for found, expected in ((models, 7), (models[1:], 8)):
        (tmp_path / "base.json").write_text(json.dumps({"models": found}))
        _, out, _ = engine("size", small.name, "--base", "base.json", "--json")
        assert json.loads(out)["models"][0]["base_bytes"] == expected


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"models": 3}', '{"models": [{"name": "a", "bytes": -1}]}',
             '{"models": [{"name": "a", "bytes": 1e999}]}', '{"models": [{"bytes": 1}]}'],
)  # fmt: skip
def test_a_base_that_is_none(engine: Engine, small: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    code, _, err = engine("size", small.name, "--base", "bad.json")
    assert code == 2
    assert "bad.json" in err
    assert engine("size", small.name, "--base", "missing.json")[0] == 2


def test_a_badge(engine: Engine, small: Path) -> None:
    code, out, _ = engine("size", small.name, "--format", "badge", "--limit", "900MB")
    found = json.loads(out)
    assert (code, found["schemaVersion"], found["isError"]) == (0, 1, False)
    assert found["message"].endswith("of 900.00 MB")
    code, out, err = engine("size", small.name, "--format", "badge", "--limit", "1kB")
    assert (code, json.loads(out)["color"]) == (1, "red")
    assert "over its limit" in err
    assert engine("size", small.name, small.name, "--format", "badge")[0] == 2
    assert engine("size", small.name, "--format", "badge", "--json")[0] == 2


@pytest.mark.parametrize("option", ["--limit", "--folder-limit"])
@pytest.mark.parametrize("text", ["5", "0", " 25 ", "25000000"])
def test_a_limit_has_a_unit(engine: Engine, small: Path, option: str, text: str) -> None:
    code, _, err = engine("size", small.name, option, text)
    assert code == 2
    assert "has no unit" in err
    assert f"{text.strip()}MB" in err


def test_kinds_and_limits_of_folders(engine: Engine, small: Path, tmp_path: Path) -> None:
    assert engine("build", small.name, "-o", "run/model")[0] == 0
    whole = sum(path.stat().st_size for path in (tmp_path / "run" / "model").iterdir())
    for path, kind in (("run/model", "artifact"), ("run", "run")):
        code, out, _ = engine("size", path, "--json", "--folder-limit", f"{whole}B")
        found = json.loads(out)["models"][0]
        assert (code, found["kind"], found["path"]) == (0, kind, path)
        assert found["folder_bytes"] == found["folder_limit"] == whole
        code, _, err = engine("size", path, "--folder-limit", f"{whole - 1}B")
        assert code == 1
        assert "1 over their limit" in err
    code, _, err = engine("size", small.name, "--folder-limit", "1GB")
    assert code == 2
    assert "limits.folder" in err


def test_an_export(engine: Engine, tmp_path: Path) -> None:
    folder = an_export(tmp_path / "onnx", {"vision.onnx": b"v" * 3000, "text.onnx": b"t" * 5000})
    whole = sum(path.stat().st_size for path in folder.iterdir())
    code, out, _ = engine("size", "onnx", "--json", "--limit", f"{whole}B")
    found = json.loads(out)["models"][0]
    assert (code, found["kind"], found["bytes"]) == (0, "export", whole)
    assert found["num_parameters"] is None
    code, _, err = engine("size", "onnx", "--limit", "8kB")
    assert code == 1
    assert "text.onnx" in err
    assert engine("size", "onnx")[0] == 0
    (folder / "text.onnx").write_bytes(b"short")
    code, _, err = engine("size", "onnx")
    assert code == 2
    assert "text.onnx" in err


def test_foreign_names_stay_in_their_cell(engine: Engine, small: Path) -> None:
    name = "a|b`c<img src=x>"
    _, out, _ = engine("size", small.name, "--format", "md", "--set", f"name={json.dumps(name)}")
    row = next((line for line in out.splitlines() if "a\\|b" in line), None)
    if row is not None:  # where such a name is allowed at all
        assert "`a\\|b'c<img src=x>`" in row

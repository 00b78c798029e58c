"""``engine data clean``, ``stats`` and ``show`` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine.data import sheet
from engine.data.text.settings import STEPS

Engine = Callable[..., tuple[int, str, str]]
HOSTILE = '<script>alert(1)</script>\u202e"&\u200b\x1b[31m'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten images, the tenth broken, a hostile text, two bad lines."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    with (folder / "metadata.json").open("wb") as file:
        for i in range(10):
            queries = [f"Кот №{i}", f"рыжий  ёж {i} http://a.ru/b", HOSTILE]
            file.write(json.dumps({"image": i, "queries": queries}).encode() + b"\n")
            Image.new("RGB", (40, 30), (25 * i, 100, 50)).save(folder / f"images/{i}.jpg")
        file.write(b"\xff\xfe\n{}\n")
    (folder / "images/9.jpg").write_bytes(b"<html>")
    return folder


def test_clean(engine: Engine, data: Path) -> None:
    code, out, err = engine("data", "clean", data)
    assert code == 0
    assert "metadata: metadata.clean.json" in out
    assert "2 lines left out (line 11: not UTF-8; line 12: no `image`)" in err
    first = json.loads((data / "metadata.clean.json").read_text(encoding="utf-8").splitlines()[0])
    assert first == {"image": 0, "queries": ["кот 0", "рыжий ёж 0", "script alert 1 script 31m"]}
    assert "\x1b[31m" not in out + err


def test_clean_json_with_a_config_of_ones_own(engine: Engine, data: Path) -> None:
    (data / "my.yaml").write_text("steps: [case, {use: minimal_words, words: 3}]", encoding="utf-8")
    code, out, _ = engine("data", "clean", data / "metadata.json", "--config", data / "my.yaml",
                          "--set", "steps.1.words=4", "-o", "other.json", "--json")  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert [(step["use"], step["dropped"]) for step in report["steps"]] == [
        ("case", 0), ("minimal_words", 10)
    ]  # fmt: skip
    assert report == json.loads((data / "other.report.json").read_text(encoding="utf-8"))
    assert (data / "other.json").is_file()


def test_steps_are_listed(engine: Engine) -> None:
    code, out, _ = engine("data", "clean", "--steps")
    assert code == 0
    for name in STEPS:
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "steps=[cases]"], "no such cleaning step: `cases` (did you mean `case`?)"),
        (["--set", "steps=[{use: letters, scripts: [thai], digits: false}]"], "no text of"),
        (["-o", "metadata.json"], "is the table itself, which is never changed"),
        (["-o", "../x.json"], "expected a plain file name"),
        (["--config", "gone.yaml"], "gone.yaml: no such file"),
    ],
)
def test_clean_refuses(engine: Engine, data: Path, arguments: list[str], message: str) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in data.iterdir()}
    code, _, err = engine("data", "clean", data, *arguments)
    assert code == 2
    assert message in re.sub(r"\s+", " ", err)
    assert {p.name: p.stat().st_mtime_ns for p in data.iterdir()} == before


def test_stats(engine: Engine, data: Path, tmp_path: Path) -> None:
    code, out, _ = engine("data", "stats", data, "--html", tmp_path / "r.html")
    assert code == 0
    assert "30, 21 different" in out
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\u202e" not in html
    assert "<mark>U+202E</mark>" in html
    assert not re.search(
        r'(src|href)="(?!#|data:)|url\((?!#)|@import', html
    )  # complete in one file
    assert html.count("<svg") >= 4
    assert "рыжий ёж" in html


def test_stats_json(engine: Engine, data: Path) -> None:
    code, out, _ = engine("data", "stats", data, "--json", "--top", "2")
    assert code == 0
    found = json.loads(out)
    assert found["queries"] == 30
    assert found["ngrams"]["top"] == [["http a ru", 10], ["a ru b", 10]]
    assert found["bad_lines"]["by_reason"] == {"no `image`": 1, "not UTF-8": 1}
    assert found["marks"]["link"] == {"count": 10, "share": 10 / 30}
    assert found["words_per_query"]["counts"] == {"2": 10, "5": 10, "7": 10}


@pytest.mark.parametrize("command", ["clean", "stats", "show"])
def test_nothing_there(engine: Engine, tmp_path: Path, command: str) -> None:
    assert "no such folder or file" in engine("data", command, tmp_path / "gone")[2]
    (tmp_path / "empty").mkdir()
    code, _, err = engine("data", command, tmp_path / "empty")
    assert code == 2
    assert "holds no metadata.json" in err
    (tmp_path / "empty/metadata.json").write_bytes(b"")
    (tmp_path / "empty/images").mkdir()
    code, _, err = engine("data", command, tmp_path / "empty")
    assert code == 2
    assert "no good line" in err


def test_show_as_a_page(engine: Engine, data: Path, tmp_path: Path) -> None:
    code, out, err = engine("data", "show", data, "--count", "24", "--json")
    assert code == 0
    found = json.loads(out)
    assert sorted(found["shown"]) == [str(i) for i in range(9)]
    assert [broken["image"] for broken in found["broken"]] == ["9"]
    assert "image 9 is not shown" in err
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 9
    assert "<script" not in html
    assert "рыжий" in html


def test_show_is_the_same_for_a_seed(engine: Engine, data: Path) -> None:
    def shown(*arguments: str) -> list[str]:
        out = engine("data", "show", data, "--count", "3", "--json", *arguments)[1]
        found: list[str] = json.loads(out)["shown"]
        return found

    assert shown() == shown()
    assert shown() != shown("--seed", "1")


def test_show_as_a_picture(engine: Engine, data: Path, tmp_path: Path) -> None:
    try:
        sheet.find_font()
    except sheet.DataError:
        pytest.skip("no font with Cyrillic is installed")
    assert engine("data", "show", data, "-o", "s.png", "--count", "7")[0] == 0
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 6 * 256
        assert image.height > 2 * 256


def test_a_picture_without_a_font(
    engine: Engine, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "FONTS", ("nowhere.ttf",))
    code, _, err = engine("data", "show", data, "-o", "s.png")
    assert code == 2
    assert "sheet.html" in err
    assert "is not a font" in engine("data", "show", data, "-o", "s.png", "--font", "x.ttf")[2]


def test_show_a_cluster(engine: Engine, data: Path) -> None:
    code, _, err = engine("data", "show", data, "--cluster", "3")
    assert code == 2
    assert "clusters.json: no such file" in err
    lines = [json.dumps({"image": i, "cluster": i % 3}) for i in range(10)]
    (data / "clusters.json").write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = engine("data", "show", data, "--cluster", "2", "--json")
    assert code == 0
    assert sorted(json.loads(out)["shown"]) == ["2", "5", "8"]
    assert "clusters there: 0, 1, 2" in engine("data", "show", data, "--cluster", "7")[2]
    (data / "clusters.json").write_text('{"image": 1}', encoding="utf-8")
    assert "line 1: expected such as" in engine("data", "show", data, "--cluster", "7")[2]
    assert "no use without" in engine("data", "show", data, "--clusters", "x")[2]


@pytest.mark.parametrize("output", ["s.gif", "data/metadata.json/s.html"])
def test_show_refuses(engine: Engine, data: Path, output: str) -> None:
    assert engine("data", "show", data, "-o", output)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ["clean", "stats"])
def test_ctrl_c_with_workers(tmp_path: Path, command: str) -> None:
    path = tmp_path / "metadata.json"
    with path.open("w", encoding="utf-8") as file:
        for i in range(150_000):
            file.write(
                json.dumps({"image": i, "queries": [f"кот {i} {k}" for k in range(4)]}) + "\n"
            )
    process = subprocess.Popen(
        [sys.executable, "-c", "from engine.cli.main import run; run()", "data", command,
         str(tmp_path), "--workers", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # until its workers are up; a terminal sends Ctrl-C to all of them
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert [p.name for p in tmp_path.iterdir()] == ["metadata.json"]

"""`engine index` and `engine search` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "фото"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(
            folder / f"снимок {number} <i>.png"
        )
    (folder / "x.jpg").write_bytes(b"no")
    return folder


def test_index_and_search(engine: Engine, built: Path, photos: Path, root: Path) -> None:
    code, out, err = engine("index", "фото", "-m", built, "-o", "my.index")
    assert code == 0, err
    assert "7 pictures found: 6 encoded" in out
    assert "x.jpg: does not decode" in err
    code, out, err = engine("index", "фото", "-o", "my.index", "--json")  # by the index's own model
    assert code == 0, err
    report = json.loads(out)
    assert (report["encoded"], report["pictures"]) == (0, 6)
    assert report["unreadable"][0]["path"].endswith("x.jpg")
    code, out, err = engine("search", "my.index", "красный круг", "--top", 3, "--html", "hits.html")
    assert code == 0, err
    assert out.count("снимок") == 3
    page = Path("hits.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 3
    assert "<i>" not in page.replace("<i></i>", "")
    image = photos / "снимок 3 <i>.png"
    code, out, err = engine("search", "my.index", "--image", image, "--minus", "круг", "--json")
    assert code == 0, err
    assert json.loads(out)["recall"] == 1
    code, out, err = engine("search", "my.index", "--image", image, "--top", 1, "--json")
    (hit,) = json.loads(out)["hits"]
    assert hit["path"] == str(image)
    assert hit["score"] == pytest.approx(1, abs=1e-4)
    code, out, err = engine("search", "my.index", "круг", "--folder", "none")
    assert (code, out.strip()) == (0, "nothing was found")


def test_duplicates(engine: Engine, built: Path, photos: Path) -> None:
    (photos / "копия.png").write_bytes((photos / "снимок 1 <i>.png").read_bytes())
    assert engine("index", "фото", "-m", built, "-o", "my.index")[0] == 0
    code, out, err = engine("index", "--duplicates", "my.index", "--cosine", 1, "--json")
    assert code == 0, err
    (group,) = json.loads(out)["groups"]
    assert [Path(name).name for name in group["pictures"]] == ["копия.png", "снимок 1 <i>.png"]
    code, out, err = engine("index", "--duplicates", "my.index", "--cosine", 1, "--html", "t.html")
    assert code == 0, err
    assert "1 groups of 2 pictures" in out
    assert "копия.png" in Path("t.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("index", "фото"), "-o INDEX are needed"), (("index", "фото", "-o", "i"), "is not an index"),
     (("index", "--duplicates", "i", "-o", "i"), "takes an index alone"),
     (("search", "i", "x"), "is not an index"), (("search", "i", "x", "--after", "?"), "not a day"),
     (("index", "none", "-o", "i", "-m", "MODEL"), "no such folder")],
)  # fmt: skip
def test_mistakes(
    engine: Engine, built: Path, photos: Path, arguments: tuple[str, ...], words: str
) -> None:
    arguments = tuple(str(built) if each == "MODEL" else each for each in arguments)
    code, _, err = engine(*arguments)
    assert code == 2
    assert words in " ".join(err.split())


def test_filtering_a_click_log(engine: Engine, built: Path, tmp_path: Path) -> None:
    data = tmp_path / "log"
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{number}.jpg")
        rows.append({"image": number, "queries": ["красный круг", f"синий квадрат {number}"]})
    (data / "images" / "5.jpg").write_bytes(b"no")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (data / "metadata.json").write_text(text, encoding="utf-8")
    shared = ("data", "filter", "log", "--score", "-m", built)
    code, out, err = engine(*shared, "--keep", 0.5, "--html", "report.html", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["pairs"], report["kept_pairs"], report["broken"]) == (10, 5, 1)
    kept = (data / "metadata.filtered.json").read_text(encoding="utf-8")
    assert sum(len(json.loads(line)["queries"]) for line in kept.splitlines()) == 5
    assert "just kept" in Path("report.html").read_text(encoding="utf-8")
    assert (data / "metadata.json").read_text(encoding="utf-8") == text
    code, out, err = engine(*shared, "--above", -1)
    assert code == 0, err
    assert "10 of 10 pairs kept" in out
    assert "0 images were scored now" in out
    code, _, err = engine(*shared, "-o", data / "metadata.json")
    assert code == 2
    assert "read by this command" in " ".join(err.split())
    assert engine("data", "filter", "log", "-m", built)[0] == 2

"""Cleaning a table: right counts, nothing invented, the same for any number of workers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.registry import default_registry
from engine.data.text import stage as stage_module
from engine.data.text import table as table_module
from engine.data.text.clean import Cleaned, clean
from engine.data.text.minhash import jaccard, shingles
from engine.data.text.settings import CleanSettings, load_clean_settings
from engine.data.text.words import words_of
from engine.errors import ConfigError, DataError

Rows = list[tuple[Any, list[str]]]


def write(folder: Path, rows: Sequence[tuple[Any, Sequence[str]]]) -> Path:
    path = folder / "metadata.json"
    lines = [json.dumps({"image": name, "queries": list(texts)}) + "\n" for name, texts in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def read(path: Path) -> Rows:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(line["image"], line["queries"]) for line in lines]


def steps(*chosen: object) -> CleanSettings:
    return CleanSettings.model_validate({"steps": chosen}, context={})


def cleaned(folder: Path, rows: Rows, *chosen: object, **more: Any) -> tuple[Cleaned, Rows]:
    done = clean(write(folder, rows), steps(*chosen), **more)
    return done, read(done.output)


def test_rows_and_report(tmp_path: Path) -> None:
    rows: Rows = [(1, ["Кот #1", "КОТ"]), ("0a", ["!!!"]), ("2", ["ЁЖ ёж"]), ("007", ["the кот"])]
    before = write(tmp_path, rows).read_bytes()
    done, found = cleaned(tmp_path, rows, "case", "letters", "spaces", "stop_words", "duplicates")
    assert found == [(1, ["кот 1", "кот"]), (2, ["ёж ёж"]), ("007", ["кот"])]
    assert (tmp_path / "metadata.json").read_bytes() == before
    report = json.loads((tmp_path / "clean.report.json").read_text(encoding="utf-8"))
    assert report["images"] == {"read": 4, "written": 3, "without_text": 1}
    assert report["queries"] == {"read": 5, "written": 4}
    counts = {step["use"]: (step["touched"], step["dropped"]) for step in report["steps"]}
    assert counts == {"case": (3, 0), "letters": (1, 1), "spaces": (1, 0), "stop_words": (1, 0),
                    "duplicates": (0, 0)}  # fmt: skip
    letters = next(step for step in report["steps"] if step["use"] == "letters")
    assert sorted(letters["examples"]) == [["!!!", None], ["кот #1", "кот  1"]]
    assert letters["scripts"] == ["cyrillic", "latin"]
    assert {p.name for p in tmp_path.iterdir()} == {
        "metadata.json", "metadata.clean.json", "clean.report.json"
    }  # fmt: skip
    assert done.images_left == 3


def test_the_dataset_reads_it(tmp_path: Path) -> None:
    cleaned(tmp_path, [(1, ["Кот"]), ("b", ["!"])], "case", "letters")
    (tmp_path / "images").mkdir()
    plugin = default_registry().get("dataset", "click_log")
    values = {"path": tmp_path, "metadata": "metadata.clean.json"}
    dataset = plugin.load()(plugin.load_settings().model_validate(values))
    assert len(dataset) == 1
    assert dataset.record(0).queries == ("кот",)


TEXTS = st.lists(st.sampled_from(["кот", "пёс", "ёж", "кот и пёс", "кот и пёc", "a", "Кот"]),
                 min_size=1, max_size=5)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=25))
def test_duplicates_as_in_plain_python(rows: list[list[str]]) -> None:
    table: Rows = list(enumerate(rows))
    with tempfile.TemporaryDirectory() as name:
        _, found = cleaned(Path(name), table, "duplicates")
        assert found == [(i, list(dict.fromkeys(texts))) for i, texts in table]
        _, found = cleaned(Path(name), table, {"use": "duplicates", "within": "table"})
        seen: set[str] = set()
        kept = []
        for i, texts in table:
            new = [t for t in dict.fromkeys(texts) if t not in seen]
            seen.update(texts)
            kept += [(i, new)] if new else []
        assert found == kept


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=25), st.integers(1, 6), st.floats(0, 0.5))
def test_too_common_as_in_plain_python(rows: list[list[str]], images: int, share: float) -> None:
    count = Counter(text for texts in rows for text in set(texts))
    maximum = max(images, share * len(rows))
    kept = [(i, [t for t in texts if count[t] <= maximum]) for i, texts in enumerate(rows)]
    kept = [row for row in kept if row[1]]
    with tempfile.TemporaryDirectory() as name:
        step = {"use": "too_common", "images": images, "share": share}
        if kept:
            assert cleaned(Path(name), list(enumerate(rows)), step)[1] == kept
        else:
            with pytest.raises(DataError, match="no text"):
                cleaned(Path(name), list(enumerate(rows)), step)
            assert [p.name for p in Path(name).iterdir()] == ["metadata.json"]


def near_rows() -> Rows:
    things = ["рыжего кота", "старого пса", "новый велосипед", "детскую коляску", "зимние шины"]
    towns = ["москва", "екатеринбург", "владивосток", "ростов на дону"]
    base = [f"купить {a} недорого с доставкой по городу {b}" for a in things for b in towns]
    return [(i, [text, text + " а", f"фото {i}", text]) for i, text in enumerate(base)]


@pytest.mark.parametrize("within", ["image", "table"])
def test_near_duplicates(tmp_path: Path, within: str) -> None:
    rows = near_rows()
    done, found = cleaned(tmp_path, rows, {"use": "near_duplicates", "within": within})
    sets = [(i, shingles(words_of(text))) for i, texts in found for text in texts]
    for k, (i, a) in enumerate(sets):
        for j, b in sets[:k]:
            assert jaccard(a, b) < 0.93 or (within == "image" and i != j)
    kept = dict(found)
    for i, texts in rows:
        assert texts[2] in kept.get(i, []) or within == "table"
        if within == "image":
            assert kept[i] == [texts[0], texts[2]]
    assert done.tallies[0].dropped == 80 - done.queries_left


def test_near_duplicates_in_an_image_are_measured_exactly(tmp_path: Path) -> None:
    a, b = "купить рыжего кота в москве", "купить рыжего кота в самаре"
    s = jaccard(shingles(a.split()), shingles(b.split()))
    assert s < 0.75
    step = {"use": "near_duplicates", "similarity": 0.75}
    assert cleaned(tmp_path, [(0, [a, b])], step)[1] == [(0, [a, b])]


def test_batches_and_workers_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(i, [*t, f"Общее #{i % 3}", "везде"]) for i, t in near_rows()]
    rows += [(1000 + i, [f"Слово{i % 40}", "www.a.ru", "везде"]) for i in range(300)]
    chosen = ("unicode", "case", "links", {"use": "too_common", "images": 50}, "spaces",
              {"use": "duplicates", "within": "table"}, "near_duplicates",
              {"use": "near_duplicates", "within": "table"}, "letters")  # fmt: skip
    whole, found = cleaned(tmp_path, rows, *chosen)
    assert whole.tallies[3].dropped == 320
    assert sum(len(texts) for _, texts in found) == whole.queries_left
    monkeypatch.setattr(table_module, "BATCH", 3000)
    for workers in (1, 3):
        again, same = cleaned(tmp_path, rows, *chosen, workers=workers)
        assert same == found
        assert again.to_json() == whole.to_json()


def test_bad_lines_cost_themselves(tmp_path: Path) -> None:
    path = write(tmp_path, [(1, ["кот"]), (2, ["\u200b"]), (3, ["а" * 100_000])])
    good = path.read_bytes()
    path.write_bytes(b"\xff\n" + good + b'{"image": 9}\n' + b"x" * (5 << 20) + b"\n" + good)
    done = clean(tmp_path, steps("unicode"))
    assert read(done.output) == [(1, ["кот"]), (3, ["а" * 100_000])]
    bad = done.to_json()["bad_lines"]
    assert bad["count"] == 6
    assert bad["lines"][0] == {"line": 1, "reason": "not UTF-8"}
    assert bad["by_reason"]["an image that an earlier line has"] == 3
    assert done.to_json()["images"]["without_text"] == 1


@pytest.mark.parametrize("name", ["metadata.json", "a/b", "..", ""])
def test_names_that_would_harm(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, [(1, ["кот"])])
    before = path.read_bytes()
    with pytest.raises(DataError):
        clean(tmp_path, steps("case"), name=name)
    assert path.read_bytes() == before


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = clean(write(tmp_path, [(1, ["Кот"])]), steps("case")).output.read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_module, "_lines", stop)
    with pytest.raises(KeyboardInterrupt):
        clean(tmp_path, steps("unicode", "too_common"))
    assert (tmp_path / "metadata.clean.json").read_bytes() == old
    assert {p.name for p in tmp_path.iterdir()} == {
        "metadata.json", "metadata.clean.json", "clean.report.json"
    }  # fmt: skip


def test_configs(root: Path) -> None:
    assert load_clean_settings() == load_clean_settings(root / "configs/data/clean.yaml")
    entry = load_clean_settings(root / "configs/data/clean_entry.yaml")
    assert [step.name for step in entry.steps][-3:] == ["stop_words", "lemmas", "minimal_words"]


def test_overrides() -> None:
    found = load_clean_settings(None, ["steps.4.scripts=[russian]"])
    assert found.steps[4].to_config()["scripts"] == ["russian"]
    assert len(load_clean_settings(None, ["steps=[case, spaces]"]).steps) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps:\n  - cases", "clean.yaml:2:5: steps.0: no such cleaning step: `cases` (did you"),
        ("steps:\n  - case\n  - {use: letters, script: [a]}", "no setting `script` (did you mean"),
        ("steps:\n  - {use: letters, scripts: [runic]}", "no such script or alphabet: `runic`"),
        ("steps:\n  - {use: minimal_words, words: 0}", "steps.0.words: expected at least 1, got 0"),
        ("steps: []", "steps: expected at least 1"),
        ("steps:\n  - 5", "expected the name of a cleaning step"),
        ("step: [case]", "unknown key"),
        ("", "empty"),
    ],
)
def test_mistakes_are_located(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "clean.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        load_clean_settings(path)
    assert message in str(found.value)

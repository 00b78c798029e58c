"""Two lists become one table: order, repeated ids, bad lines, files that change."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.click_log import MAX_LINE
from engine.data.download.lists import import_lists
from engine.data.download.report import make_report
from engine.data.download.settings import DownloadSettings
from engine.data.download.state import State
from engine.errors import DataError

CHOICES = DownloadSettings(shard_size=3)


def imported(folder: Path, metadata: bytes, images: bytes) -> State:
    (folder / "metadata.json").write_bytes(metadata)
    (folder / "images.json").write_bytes(images)
    target = folder / "state.sqlite"
    import_lists(folder / "metadata.json", folder / "images.json", target, CHOICES)
    assert {p.name for p in folder.iterdir()} == {"metadata.json", "images.json", "state.sqlite"}
    return State(target)


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def test_order_is_that_of_the_urls(tmp_path: Path) -> None:
    metadata = lines(*({"image": i, "queries": [f"q{i}"]} for i in (5, 4, 3, 2, 1)))
    images = lines(*({"image": i, "url": f"http://a/{i}"} for i in (2, 5, 1, 4)))
    state = imported(tmp_path, metadata, images)
    items = [item for shard in state.unsealed() for item in state.pending(shard)]
    assert [(i.position, i.id, i.url) for i in items] == [
        (1, "2", "http://a/2"), (2, "5", "http://a/5"), (3, "1", "http://a/1"), (4, "4", "http://a/4")
    ]  # fmt: skip
    assert (state.shards, list(state.unsealed())) == (2, [0, 1])
    state.close()


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    metadata = (
        lines({"image": 1, "queries": ["first", "second"]}, {"image": "1", "queries": ["again"]})
        + b"{broken\n\xff\xfe\n"
        + lines({"image": 2, "queries": []}, {"image": 3, "queries": ["only here"]})
        + b'{"image": 7, "queries": ["' + b"a" * MAX_LINE + b'"]}\n'
    )  # fmt: skip
    images = (
        lines({"image": 1, "url": "http://a/1"}, {"image": 1, "url": "http://b/1"})
        + lines({"image": 4, "url": "http://a/4"}, {"image": 5}, {"image": 6, "url": 7})
        + b"[]\n"
    )
    state = imported(tmp_path, metadata, images)
    (item,) = state.pending(0)
    assert (item.id, item.url) == ("1", "http://a/1")
    report = make_report(state)
    assert report["lists"]["metadata"] == {
        "lines": 7, "good": 2, "bad": 5, "only_in_this_list": 1,
        "bad_by_reason": {"an image that an earlier line has": 1, "longer than 1 MiB": 1,
                          "no query that is not empty": 1, "not JSON": 1, "not UTF-8": 1},
    }  # fmt: skip
    assert report["lists"]["images"]["bad"] == 4
    assert report["lists"]["images"]["only_in_this_list"] == 1
    assert [(b["list"], b["line"]) for b in report["bad_lines"]] == [
        ("metadata", 2), ("metadata", 3), ("metadata", 4), ("metadata", 5), ("metadata", 7),
        ("images", 2), ("images", 4), ("images", 5), ("images", 6),
    ]  # fmt: skip
    assert report["queries"]["listed"] == 2
    state.close()


def test_a_line_of_a_hundred_megabytes_costs_no_memory(tmp_path: Path) -> None:
    """In a process of its own that has no 100 MB to give to a line."""
    with (tmp_path / "metadata.json").open("wb") as file:
        file.write(b'{"image": 1, "queries": ["')
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b'"]}\n' + lines({"image": 2, "queries": ["q"]}))
    (tmp_path / "images.json").write_bytes(lines({"image": 2, "url": "http://a/2"}))
    script = (
        "import resource, sys; from pathlib import Path;"
        "from engine.data.download.lists import import_lists;"
        "from engine.data.download.settings import DownloadSettings;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; f = Path(sys.argv[1]);"
        "import_lists(f/'metadata.json', f/'images.json', f/'state.sqlite', DownloadSettings());"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30_000  # kilobytes
    state = State(tmp_path / "state.sqlite")
    assert state.images == 1
    assert state.bad_lines(9) == [("metadata", 1, "longer than 1 MiB")]
    state.close()


@pytest.mark.parametrize("missing", ["metadata.json", "images.json"])
def test_a_missing_list(tmp_path: Path, missing: str) -> None:
    for name in {"metadata.json", "images.json"} - {missing}:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=missing):
        import_lists(tmp_path / "metadata.json", tmp_path / "images.json", tmp_path / "s", CHOICES)


def test_nothing_in_both_lists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image stands in both"):
        imported(
            tmp_path,
            lines({"image": 1, "queries": ["q"]}),
            lines({"image": 2, "url": "http://a/"}),
        )
    assert not (tmp_path / "state.sqlite").exists()


def test_a_cut_off_import_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite.tmp").write_bytes(b"half a table")
    (tmp_path / "lists.tmp").write_bytes(b"half a list")
    imported(
        tmp_path, lines({"image": 1, "queries": ["q"]}), lines({"image": 1, "url": "http://a/"})
    ).close()


def test_other_choices_and_other_lists_are_refused(tmp_path: Path) -> None:
    metadata, images = (
        lines({"image": 1, "queries": ["q"]}),
        lines({"image": 1, "url": "http://a/"}),
    )
    state = imported(tmp_path, metadata, images)
    paths = tmp_path / "metadata.json", tmp_path / "images.json"
    state.check(replace(CHOICES, connections=1, retries=9), *paths)
    with pytest.raises(DataError, match="size: 256 before, 128 now; quality: 90 before, 80 now"):
        state.check(replace(CHOICES, size=128, quality=80), *paths)
    paths[1].write_bytes(images)  # another time of change, the same bytes
    state.check(CHOICES, *paths)
    paths[1].write_bytes(images.replace(b"http://a/", b"http://b/"))
    with pytest.raises(DataError, match=r"images\.json is not the list"):
        state.check(CHOICES, *paths)
    paths[1].unlink()  # all of it is in the table
    state.check(CHOICES, *paths)
    state.close()


def test_a_state_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(
        b"not a database at all, but long enough to be read" * 9
    )
    with pytest.raises(DataError, match="cannot be read"):
        State(tmp_path / "state.sqlite")


ids = st.integers(0, 6) | st.sampled_from(["a", "b", "1", ".", "", "x/y"])
good_queries = st.lists(st.text(max_size=3), max_size=3)
junk = st.binary(max_size=20).filter(lambda b: b"\n" not in b and not b.startswith(b"\xef"))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(ids, good_queries) | junk, max_size=12),
    st.lists(st.tuples(ids, st.text(max_size=4)) | junk, max_size=12),
)
def test_every_line_has_its_place(metadata: list[object], images: list[object]) -> None:
    """No row is lost or invented, by the plainest account of what should come out."""

    def written(rows: list[object], key: str) -> bytes:
        return b"".join(
            row + b"\n" if isinstance(row, bytes) else lines({"image": row[0], key: row[1]})  # type: ignore[index]
            for row in rows
        )

    def wanted(rows: list[object], key: str) -> dict[str, object]:
        found: dict[str, object] = {}
        for row in rows:
            if isinstance(row, tuple):
                id_, value = str(row[0]), row[1]
                fits = id_ not in (".", "", "x/y")
                if key == "queries":
                    value = [q for q in value if q.strip()]
                    fits = fits and bool(value)
                if fits:
                    found.setdefault(id_, value)
        return found

    texts, urls = wanted(metadata, "queries"), wanted(images, "url")
    both = {id_: (url, texts[id_]) for id_, url in urls.items() if id_ in texts}
    with tempfile.TemporaryDirectory() as name:
        try:
            state = imported(Path(name), written(metadata, "queries"), written(images, "url"))
        except DataError:
            assert not both
            return
        rows = state._table.execute("SELECT id, url, queries FROM images ORDER BY position")
        assert [(i, u, json.loads(q)) for i, u, q in rows] == [
            (i, u, q) for i, (u, q) in both.items()
        ]
        report = make_report(state)["lists"]
        state.close()
    for key, found, rows_ in (("metadata", texts, metadata), ("images", urls, images)):
        assert report[key]["good"] == len(found)
        full = [r for r in rows_ if not isinstance(r, bytes) or r.strip()]
        assert report[key]["lines"] == len(full)


def test_an_interrupted_import_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.data.download import lists

    def interrupted(line: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lists, "parse_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imported(
            tmp_path, lines({"image": 1, "queries": ["q"]}), lines({"image": 1, "url": "http://a/"})
        )
    assert {p.name for p in tmp_path.iterdir()} == {"metadata.json", "images.json"}


def test_a_list_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.data.download import lists

    real = lists.parse_url

    def touched(line: bytes) -> tuple[str, str]:
        (tmp_path / "images.json").write_bytes(line + b"\n")
        return real(line)

    monkeypatch.setattr(lists, "parse_url", touched)
    with pytest.raises(DataError, match="changed while it was read"):
        imported(
            tmp_path, lines({"image": 1, "queries": ["q"]}), lines({"image": 1, "url": "http://a/"})
        )

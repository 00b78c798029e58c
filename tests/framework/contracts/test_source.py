"""find_source: files of folders, of single files, and of the hub (a stand-in, and a real cache)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.sources import UnreachableError, find_source
from engine.errors import EngineError, WeightsError


def test_a_folder_gives_what_it_has_in_the_order_asked(tmp_path: Path) -> None:
    for name in ("merges.txt", "vocab.json", "other"):
        (tmp_path / name).write_text("x")
    found = find_source(f"file:{tmp_path}", ["vocab.json", "absent", "merges.txt"])
    assert list(found.items()) == [
        ("vocab.json", tmp_path / "vocab.json"),
        ("merges.txt", tmp_path / "merges.txt"),
    ]
    assert find_source(f"artifact:{tmp_path}", ["other"]) == {"other": tmp_path / "other"}


def test_one_file_stands_for_its_name_or_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "ru.model"
    path.write_text("x")
    assert find_source(f"file:{path}", ["a.txt", "b.model", "ru.model"]) == {"ru.model": path}
    assert find_source(f"file:{path}", ["a.txt", "b.model", "c.model"]) == {"b.model": path}
    with pytest.raises(WeightsError, match="none of the files wanted") as caught:
        find_source(f"file:{path}", ["a.txt"])
    assert not isinstance(caught.value, UnreachableError)


def test_of_alternatives_the_best_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "c"):
        (tmp_path / name).write_text("x")
    assert list(find_source(f"file:{tmp_path}", ["a", "b", "c"], first_only=True)) == ["b"]
    FakeHub(tmp_path).install(monkeypatch)
    names = ["absent", "merges.txt", "vocab.json"]
    assert list(find_source("hf:owner/name", names, first_only=True)) == ["merges.txt"]
    assert not (tmp_path / "vocab.json").exists(), "the second best was downloaded too"


def test_absent_is_unreachable_but_a_folder_without_the_files_is_broken(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no such file or folder"):
        find_source(f"file:{tmp_path / 'absent'}", ["a"])
    with pytest.raises(WeightsError, match="none of the files wanted: a, b") as caught:
        find_source(f"file:{tmp_path}", ["a", "b"])
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    "source",
    [
        "hf:name", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@../x", "hf:a/b c",
        "hf:-a/b", "hf:a--b/c", "hf:a/b@x y", "hf:https://x/y", "open_clip:a/b", "scratch", "file:",
        "http://a/b",
    ],
)  # fmt: skip
def test_malformed_sources_are_refused_without_asking_anyone(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(WeightsError) as caught:
        find_source(source, ["a"])
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../b", "", "a\\b"])
def test_names_cannot_leave_the_source(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a file name inside"):
        find_source(f"file:{tmp_path}", [name])


@given(st.text(max_size=60))
@example("~nobody-of-this-name/x")
@example("a\0b")
@example("x" * 5000)
def test_any_text_as_a_path_is_an_error_of_ours(text: str) -> None:
    try:
        find_source(f"file:{text}", ["no file has this name"])
    except EngineError:
        return
    pytest.fail("found a file that does not exist")


class FakeHub:
    """A repository `owner/name` with two files, or the error that asking for it raises."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.asked: list[Any] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)

    def model_info(self, repository: str, *, revision: str | None, timeout: float) -> Any:
        self.asked.append((repository, revision, timeout))
        if self.error is not None:
            raise self.error
        files = [SimpleNamespace(rfilename=name) for name in ("vocab.json", "merges.txt")]
        return SimpleNamespace(siblings=files)

    def download(self, repository: str, name: str, **kwargs: Any) -> str:
        path = self.folder / name
        path.write_text(f"{repository}@{kwargs['revision']}")
        return str(path)


def _http_error(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)  # its constructor wants a response of the HTTP library under it
    Exception.__init__(error, "an answer of the hub")
    return error


def test_the_hub_gives_the_files_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(tmp_path)
    hub.install(monkeypatch)
    found = find_source("hf:owner/name@v1.0", ["tokenizer.json", "merges.txt", "vocab.json"])
    assert list(found) == ["merges.txt", "vocab.json"]
    assert found["vocab.json"].read_text() == "owner/name@v1.0"
    assert [(repository, revision) for repository, revision, _ in hub.asked] == [
        ("owner/name", "v1.0")
    ]
    assert 0 < hub.asked[0][2] <= 10
    with pytest.raises(WeightsError, match="none of the files wanted") as caught:
        find_source("hf:owner/name", ["absent"])
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("no route"), "cannot be reached .*ConnectionError: no route"),
        (TimeoutError("slow"), "cannot be reached"),
        (_http_error(hub_errors.RepositoryNotFoundError), "no such repository"),
        (_http_error(hub_errors.RevisionNotFoundError), "no such revision"),
        (hub_errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
    ],
)
def test_no_answer_is_unreachable_and_says_how_to_get_it(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeHub(tmp_path, error).install(monkeypatch)
    with pytest.raises(UnreachableError, match=reason) as caught:
        find_source("hf:owner/name", ["vocab.json"])
    assert "hf download owner/name" in str(caught.value)
    assert "otherwise: scratch" in str(caught.value)


def test_a_full_disk_is_no_reason_to_start_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeHub(tmp_path, OSError(28, "No space left on device")).install(monkeypatch)
    with pytest.raises(WeightsError, match="No space left") as caught:
        find_source("hf:owner/name", ["vocab.json"])
    assert not isinstance(caught.value, UnreachableError)


def _cache(folder: Path) -> Path:
    """A cache laid out as the hub's own, with one file of `owner/name`."""
    repository = folder / "models--owner--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "vocab.txt").write_text("[PAD]")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot / "vocab.txt"


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's client reads its environment when imported."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_cache_serves_offline(tmp_path: Path) -> None:
    path = _cache(tmp_path)
    code = (
        "from engine.core.sources import find_source\n"
        "print(find_source('hf:owner/name', ['absent.bin', 'vocab.txt'])['vocab.txt'])\n"
        "find_source('hf:owner/other', ['vocab.txt'])"
    )
    ran = _run(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    assert ran.stdout.strip() == str(path)
    assert "UnreachableError: hf:owner/other: HF_HUB_OFFLINE is set" in ran.stderr


def test_a_dead_hub_is_given_up_within_seconds(tmp_path: Path) -> None:
    code = (
        "from engine.core.sources import find_source\n"
        "find_source('hf:owner/name', ['a.json', 'b.json', 'c.json'])"
    )
    start = time.monotonic()
    # Port 9 of this machine answers nobody.
    ran = _run(
        code, HF_HUB_CACHE=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0"
    )
    assert re.search("UnreachableError: hf:owner/name: the hub cannot be reached", ran.stderr)
    assert time.monotonic() - start < 15


PAIR = (("vocab.json", "merges.txt"), ("tokenizer.json",))


@pytest.mark.parametrize("held", ["vocab.json", "merges.txt", "added_tokens.json"])
def test_a_part_of_what_is_needed_in_the_cache_is_out_of_reach(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeHub(tmp_path, ConnectionError("no route")).install(monkeypatch)
    (tmp_path / held).write_text("x")

    def cached(repository: str, name: str, **_: Any) -> str | None:
        return str(tmp_path / name) if name == held else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    names = ["vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json"]
    with pytest.raises(UnreachableError, match=f"its cache has {held} alone"):
        find_source("hf:owner/name", names, needs=PAIR)
    assert find_source("hf:owner/name", names) == {held: tmp_path / held}


@pytest.mark.parametrize(
    "held", [("vocab.json", "merges.txt"), ("tokenizer.json",), ("tokenizer.json", "vocab.json")]
)
def test_enough_of_it_in_the_cache_serves(
    held: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeHub(tmp_path, ConnectionError("no route")).install(monkeypatch)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, name, **_: str(tmp_path / name) if name in held else None,
    )
    names = ["vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json"]
    assert set(find_source("hf:owner/name", names, needs=PAIR)) == set(held)


@pytest.mark.parametrize("held", ["vocab.json", "merges.txt"])
def test_a_folder_with_a_part_is_broken(held: str, tmp_path: Path) -> None:
    (tmp_path / held).write_text("x")
    with pytest.raises(WeightsError, match=f"has {held} alone") as caught:
        find_source(f"file:{tmp_path}", ["vocab.json", "merges.txt"], needs=PAIR)
    assert not isinstance(caught.value, UnreachableError)
    assert "`vocab.json` and `merges.txt`, or `tokenizer.json`" in str(caught.value.hint)


def test_a_hub_with_a_part_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(tmp_path).install(monkeypatch)
    with pytest.raises(WeightsError, match=r"merges\.txt alone") as caught:
        find_source("hf:owner/name", ["merges.txt", "x.json"], needs=[("merges.txt", "x.json")])
    assert not isinstance(caught.value, UnreachableError)

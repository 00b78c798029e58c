"""Folders that take another's place: cut off at every step, with and without an exchange."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.core.files import folders, recover, replacing_folder, scratch, steps, sweep, temporary
from engine.core.files.temporary import make_file, make_folder
from engine.errors import ArtifactError, DataError

STEPS = ("replace", "move", "exchange", "remove", "remove_tree", "write_synced", "sync_folder")


class KilledError(BaseException):
    """The process is gone; no handler of errors sees it."""


class Kill:
    """Ends the process before or after its n-th lasting step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> None:
        self.left, self._after, self.dead = at, after, False
        for name in STEPS:
            act = getattr(steps, name)
            monkeypatch.setattr(steps, name, self._wrapped(act))
        self._handles: list[int] = []

    def _wrapped(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self.dead:
                raise KilledError
            self.left -= 1
            if self.left == 0:
                self.dead = True
                if self._after:
                    act(*args)
                raise KilledError
            return act(*args)

        return call


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as temporary:
        (temporary / "a").write_text(text)
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text(text)


def content(folder: Path) -> set[str]:
    recover(folder)
    return {path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(steps, "exchange", lambda first, second: False)
    return str(request.param)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("old", [True, False])
def test_cut_off_at_every_step(
    tmp_path: Path, way: str, after: bool, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0
    while True:
        step += 1
        shutil.rmtree(tmp_path / "at", ignore_errors=True)
        folder = tmp_path / "at" / "model"
        if old:
            write(folder, "old")
        with monkeypatch.context() as patch:
            kill = Kill(patch, step, after=after)
            with contextlib.suppress(KilledError):
                write(folder, "new")
        if not kill.dead:
            break
        found = content(folder)
        assert found in ({"old"}, {"new"}) if old else found in (set(), {"new"})
        write(folder, "third")
        assert content(folder) == {"third"}
        assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert step > 3


def test_an_exchange_is_used_where_there_is_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if sys.platform.startswith("linux"):
        assert steps.exchange(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a" / "b").exists()
    with pytest.raises(FileNotFoundError):
        steps.exchange(tmp_path / "a", tmp_path / "none")


PROGRAM = """
import sys, time
from pathlib import Path
from engine.core.files import replacing, replacing_folder, scratch
kind, place = sys.argv[1], Path(sys.argv[2])
make = {"file": replacing, "folder": replacing_folder, "scratch": scratch}[kind]
with make(place) as found:
    if kind != "file":
        (found / "big").write_bytes(bytes(1000))
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder", "scratch"])
def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(
    tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, kind, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        (left,) = (p for p in tmp_path.iterdir() if p.name.endswith(".tmp"))
        sweep(tmp_path)
        assert left.exists(), "it belongs to a process that lives"
        process.kill()
    assert left.exists()
    act = {"file": lambda: folders_free(tmp_path), "folder": lambda: write(place, "x"),
           "scratch": lambda: use_scratch(place)}[kind]  # fmt: skip
    act()
    assert not left.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def folders_free(folder: Path) -> None:
    from engine.core.files import write_text

    write_text(folder / "another name", "x")


def use_scratch(place: Path) -> None:
    with scratch(place):
        pass


@pytest.mark.parametrize("number", ["7", str(os.getpid())], ids=["7", "own"])
def test_a_repeated_process_number_blocks_nobody(
    tmp_path: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every process may have the number of one that was killed."""
    monkeypatch.setattr(os, "getpid", lambda: int(number))
    for make in (make_folder, make_file):
        held = make(tmp_path / "model")
        os.close(held.handle)  # as the kernel does for a killed process
    write(tmp_path / "model", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_temporaries_of_another_machine_stay_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = make_folder(tmp_path / "model")
    os.close(held.handle)
    monkeypatch.setattr(temporary, "_boot", lambda: "00000000")
    sweep(tmp_path)
    assert held.path.exists()
    long_ago = time.time() - 4000
    os.utime(held.path, (long_ago, long_ago))
    sweep(tmp_path)
    assert not held.path.exists()


def test_files_of_others_with_such_names_are_never_swept(tmp_path: Path) -> None:
    names = [".tmp", ".a.tmp", ".model.123.tmp", "model.00000000-1-000000000000.tmp",
             ".model.1234.old"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".l.00000000-1-000000000000.tmp").symlink_to("/etc")
    write(tmp_path / "model", "x")
    assert {p.name for p in tmp_path.iterdir()} >= {*names, ".l.00000000-1-000000000000.tmp"}


def test_what_came_in_the_last_moment_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "old")

    def check(place: Path) -> None:
        if place.exists() and (place / "mine").exists():
            raise ArtifactError(f"{place} holds mine")

    real = steps.exchange

    def exchange(first: Path, second: Path) -> bool:
        (folder / "mine").touch()  # just before; on the way back it is in the other folder
        steps.exchange = real  # type: ignore[assignment]
        return real(first, second)

    steps.exchange = exchange  # type: ignore[assignment]
    try:
        with (
            pytest.raises(ArtifactError, match=r"model holds mine"),
            replacing_folder(folder, check) as new,
        ):
            (new / "a").write_text("new")
    finally:
        steps.exchange = real  # type: ignore[assignment]
    assert (folder / "mine").exists()
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_reader_finds_what_two_renames_left(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "old")
    folder.rename(temporary.name_for(folder, "old"))
    recover(folder)
    assert content(folder) == {"old"}
    long = tmp_path / ("m" * 200)
    write(long, "long")
    long.rename(temporary.name_for(long, "old"))
    sweep(tmp_path)
    recover(long)
    assert content(long) == {"long"}


def test_another_writer_is_waited_for_and_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "WAIT", 0.1)
    with replacing_folder(tmp_path / "a"):
        who = rf"in use by another process.*process {os.getpid()} on"
        with pytest.raises(DataError, match=who), replacing_folder(tmp_path / "a", error=DataError):
            pytest.fail("two at once")
        with replacing_folder(tmp_path / "b"):
            pass


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_what_is_no_folder_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.touch() if kind == "file" else os.mkfifo(path)
    with pytest.raises(ArtifactError, match="not a folder"):
        write(path, "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

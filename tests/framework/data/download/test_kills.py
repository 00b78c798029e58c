"""Cut off at any step, any number of times: the result is an undisturbed run's, byte for byte.

A thousand simulated ends: every step that changes something for good is wrapped, and at a random
one the "process" is dead, before the step, in its middle or after it; from then on nothing that it
does has any effect. Then it starts again. The network and the decoders are stand-ins that answer
in random order. Twenty real ends are in test_real_kills.py.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from engine.core.files import steps
from engine.data.download import run
from engine.data.download.fetch import Body
from engine.data.download.outcome import Downloaded, Refusal
from engine.data.download.state import State
from engine.data.verify import verify

from .conftest import QUICK, Lists, picture

IMAGES, SHARD = 23, 4
PICTURES = [picture(i, (8, 8)) for i in range(IMAGES)]


class KilledError(BaseException):
    """The process is gone; no handler of errors sees it."""


class Fate:
    """Ends the process at its n-th lasting step."""

    def __init__(self) -> None:
        self.steps_left = -1
        self.steps = 0
        self.chance = random.Random(0)

    @property
    def dead(self) -> bool:
        return self.steps_left == 0

    def arm(self, steps: int, chance: random.Random) -> None:
        self.steps_left, self.steps, self.chance = steps, 0, chance

    def step(self, act: Callable[[], Any], half: Callable[[], Any] = lambda: None) -> Any:
        if self.dead:
            raise KilledError
        self.steps += 1
        self.steps_left -= 1
        if not self.dead:
            return act()
        self.chance.choice([lambda: None, half, act])()
        raise KilledError


class Pool:
    """Stands in for the decoding processes; writes into the spool as they do."""

    workers = 2

    def __init__(self, settings: Any, keep_open: Any = ()) -> None: ...

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def decode(self, position: int, body: Body, path: Path | None) -> Downloaded:
        await asyncio.sleep(0)
        data = body.data
        if path is None:
            return Downloaded(position, 8, 8, len(data), sha256(data).digest(), len(data), data)
        FATE.step(lambda: path.write_bytes(data), lambda: path.write_bytes(data[:9]))
        return Downloaded(position, 8, 8, len(data), sha256(data).digest(), len(data))


class Web:
    """Stands in for the network; every fifth image is missing while ``broken``."""

    broken = True

    def __init__(self, settings: Any) -> None: ...

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def get(self, url: URL, seconds: float) -> Body | Refusal:
        for _ in range(FATE.chance.randrange(6)):
            await asyncio.sleep(0)
        number = int(url.path[1:])
        if number % 5 == 2 and Web.broken:
            return Refusal("HTTP 404")
        return Body(PICTURES[number])


FATE = Fate()


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    Web.broken = True
    FATE.arm(-1, random.Random(0))
    monkeypatch.setattr(run, "Pool", Pool)
    monkeypatch.setattr(run, "Fetcher", Web)
    monkeypatch.setattr(run, "_BATCH", 3)

    def half_written(path: Path, pieces: Iterable[bytes]) -> None:
        path.write_bytes(b"".join(pieces)[:10])

    append = steps.append
    halves: dict[str, Callable[..., None]] = {
        "write_synced": half_written,
        "append": lambda handle, data: append(handle, data[: len(data) // 2]),
    }
    for name in ("write_synced", "append", "replace", "move", "remove", "remove_tree"):
        act = getattr(steps, name)

        def wrapped(*args: Any, act: Any = act, name: str = name) -> Any:
            half = halves.get(name, lambda *args: None)
            return FATE.step(lambda: act(*args), lambda: half(*args))

        monkeypatch.setattr(steps, name, wrapped)
    opened = State.__init__

    def quickly(self: State, path: Path) -> None:
        opened(self, path)
        self._table.execute("PRAGMA synchronous=OFF")

    # Only the machine's own end needs the disk to be waited for, and that is not simulated here.
    monkeypatch.setattr(State, "__init__", quickly)
    monkeypatch.setattr(steps.os, "fsync", lambda handle: None)
    for name in ("record", "seal", "set_note", "forget"):
        method = getattr(State, name)

        def committed(self: State, *args: Any, method: Any = method) -> Any:
            return FATE.step(lambda: method(self, *args))

        monkeypatch.setattr(State, name, committed)


def lists_of(folder: Path) -> Lists:
    folder.mkdir(exist_ok=True)
    found = Lists(folder)
    found.write({i: f"http://example.org/{i}" for i in range(IMAGES)})
    return found


def settings(kind: str) -> Any:
    return replace(QUICK, format=kind, shard_size=SHARD, connections=7)


def until_done(lists: Lists, kind: str, chance: random.Random, **more: Any) -> int:
    """Start again after each end; gives the number of ends."""
    ends = 0
    while True:
        FATE.arm(chance.randrange(1, 40), chance)
        try:
            lists.run(settings(kind), **more)
        except KilledError:
            ends += 1
        else:
            return ends


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_a_thousand_ends(tmp_path: Path, kind: str) -> None:
    whole = lists_of(tmp_path / "whole")
    whole.run(settings(kind))
    wanted = whole.content()
    assert len(wanted) > 6
    assert verify(whole.out).whole
    ends, round_ = 0, 0
    while ends < 500:
        round_ += 1
        lists = lists_of(tmp_path / f"round{round_}")
        ends += until_done(lists, kind, random.Random(round_))
        assert lists.content() == wanted, f"round {round_}"
    FATE.arm(-1, random.Random(0))
    assert verify(lists.out).whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_ends_while_failures_are_taken_up(tmp_path: Path, kind: str) -> None:
    """What comes later lies where it would have lain had it come at once."""
    Web.broken = False
    whole = lists_of(tmp_path / "whole")
    whole.run(settings(kind))
    ends, round_ = 0, 0
    while ends < 100:
        round_ += 1
        lists = lists_of(tmp_path / f"round{round_}")
        chance = random.Random(1000 + round_)
        Web.broken = True
        ends += until_done(lists, kind, chance)
        Web.broken = False
        ends += until_done(lists, kind, chance, retry_failed=True)
        assert lists.content() == whole.content(), f"round {round_}"


def test_the_fault_is_felt(tmp_path: Path) -> None:
    """Every step of a run is a place to end at: the wrapping misses none of them."""
    lists = lists_of(tmp_path / "one")
    FATE.arm(10**6, random.Random(0))
    lists.run(settings("webdataset"))
    # Six shards in four steps each, commits of three, the tables of texts, failures, counts.
    assert FATE.steps > 6 * 4 + IMAGES // 3 + IMAGES + 6
    report = json.loads((lists.out / "report.json").read_text())
    assert report["images"] == {"listed": 23, "downloaded": 18, "failed": 5, "left": 0}


@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_a_crash_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Another start of the machine: pictures that were not on the disk are downloaded again."""
    whole = lists_of(tmp_path / "whole")
    whole.run(settings(kind))
    lists = lists_of(tmp_path / "one")
    FATE.arm(40, random.Random(3))
    with pytest.raises(KilledError):
        lists.run(settings(kind))
    FATE.arm(-1, random.Random(0))
    there = sorted((lists.out / ("images" if kind == "files" else "spool")).iterdir())
    there[0].write_bytes(b"")
    there[-1].unlink()
    if kind == "files":
        (lists.out / "images" / "999.jpg").write_bytes(b"no row knows this")
    monkeypatch.setattr(run, "_boot", lambda: "another")
    lists.run(settings(kind))
    assert lists.content() == whole.content()

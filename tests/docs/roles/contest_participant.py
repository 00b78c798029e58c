"""The contest participant: five million pictures, a limit on the bytes, one core, no network."""

from __future__ import annotations

import json
import shutil

from .statements import Role, Statement, World, of

STATEMENTS: list[Statement] = []


@of("README.md", STATEMENTS, "exact bytes, no weights in memory; exit 1 if over")
def sizes(world: World) -> None:
    world.ok("engine size configs/*.yaml --set limits.weights=null --limit 10GB")
    world.fails(1, "engine size configs/sber.yaml --limit 100MB", "vision")


@of("docs/tutorial.md", STATEMENTS, "`gallery.html` shows the pictures with the model's answers.")
def gallery(world: World) -> None:
    page = world.text("gallery.html")
    assert page.count('<figure class="answered') >= 10
    assert "chance" in page


@of(
    "docs/contest.md",
    STATEMENTS,
    "A line that is not such an object costs that line alone, and is counted.",
)
def bad_lines(world: World) -> None:
    first = world.text("metadata.json").splitlines()[:5]
    world.write("bad/metadata.json", "\n".join([*first, "{nonsense", "[1]", '"x"']) + "\n")
    found = world.json("engine data stats bad")
    assert found["images"] == 5
    assert found["bad_lines"]["count"] == 3, found["bad_lines"]


@of(
    "docs/contest.md",
    STATEMENTS,
    "Cleaning writes `metadata.clean.json` beside the old table and reports what was dropped and"
    " why.",
)
def cleaned(world: World) -> None:
    assert world.path("data/train/metadata.clean.json").is_file()
    assert world.path("data/train/metadata.json").is_file()


@of(
    "docs/contest.md",
    STATEMENTS,
    '`predictions.json` is `{"<data set>": {"<image id>": <class index>}}`, the images in the order'
    " of `gt.json` where there is one.",
)
def answers(world: World) -> None:
    found, truth = (json.loads(world.text(n)) for n in ("predictions.json", "data/test/gt.json"))
    assert list(found) == list(truth)
    for name, rows in found.items():
        assert list(rows) == list(truth[name])
        assert all(type(each) is int for each in rows.values())


@of(
    "docs/contest.md",
    STATEMENTS,
    "`--contest` adds a run under the contest's conditions: one thread, no network (sockets are"
    " forbidden), from a cold start to the written file.",
)
def contest(world: World) -> None:
    found = json.loads(world.text("build/bench/contest/leaderboard.json"))
    rows = {row["entry"]: row["contest"] for row in found["rows"]}
    assert all(rows.values()), rows


_ALONE = """
import socket
def no(*arguments, **options): raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no
from engine.cli.main import run
run()
"""


@of(
    "docs/contest.md",
    STATEMENTS,
    "To submit, take the artifact's folder: it needs Engine and the packages of its plugins,"
    " nothing from the network.",
)
def submitted(world: World) -> None:
    shutil.copytree(world.path("runs/contest/model"), world.path("elsewhere/model"))
    world.write("elsewhere/alone.py", _ALONE)
    world.ok("cd elsewhere && python alone.py predict model ../data/test -o p.json")
    own, there = world.text("predictions.json"), world.text("elsewhere/p.json")
    assert json.loads(own) == json.loads(there)


@of(
    "README.md",
    STATEMENTS,
    "More: `engine demo` (without a checkout)",
)
def demo(world: World) -> None:
    world.path("nowhere").mkdir()
    said = world.ok("cd nowhere && engine demo --set train.stages.0.epochs=1")
    assert "chance" in said, said
    page = world.text("nowhere/engine-demo/gallery.html")
    assert '<figure class="answered' in page
    assert "chance" in page


ROLE = Role("contest_participant", ["tutorial.md", "contest.md"], STATEMENTS)

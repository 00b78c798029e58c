"""Runs the blocks of a page where a reader would, with the stand-ins that make that possible."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..scaffold.environment import ROOT, Environment
from .pages import Block

STAND_INS = (
    # (page, what it says, what the tests run, why)
    (
        "write-a-plugin.md",
        "engine train my.yaml",
        "engine train my.yaml --set train.stages.0.epochs=1",
        "that it learns is seen on the newcomer's walk",
    ),
    (
        "contest.md",
        "engine data download metadata.json images.json data/train",
        "engine data download metadata.json images.json data/train --allow-private",
        "the stand-in's server is on loopback",
    ),
)


def do(block: Block, page: str, clean: Environment, folder: Path, where: Path) -> Path:
    """Write a file, or run a block, where the reader is now; where the reader is then."""
    if block.title:
        path = folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return folder
    if block.language == "text":
        return folder
    text = block.text
    for its_page, old, new, _ in STAND_INS:
        if its_page == page:
            text = text.replace(f"{old}\n", f"{new}\n")
    words = ["python", "-c", text]
    if block.language == "bash":
        # `! command` is one that must fail, to which `set -e` alone would not hold it.
        fails = r"if \1; then exit 99; else test $? -le 2; fi"
        text = re.sub(r"^! (.*)$", fails, text, flags=re.MULTILINE)
        words = ["bash", "-euo", "pipefail", "-c", f'{text}printf %s "$PWD" > "{where}"\n']
    done = clean.run(*words, cwd=folder)
    message = f"docs/{page}:{block.line}: exit code {done.returncode}\n{text}"
    assert done.returncode == 0, f"{message}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{message}\n{done.stderr}"
    return Path(where.read_text(encoding="utf-8")) if block.language == "bash" else folder


def copy_configs(folder: Path) -> None:
    """The checkout's configs, the tiny ones made tinier: the pages show that they work."""
    shutil.copytree(ROOT / "configs", folder)
    smaller = 0
    for path in (folder / "tiny").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"epochs: \d+", "epochs: 1", text)
        text = re.sub(r"batch_size: \d+", "batch_size: 32", text)
        text, changes = re.subn(r"(train: {use: shapes(?:, size: \d+)?)}", r"\1, count: 200}", text)
        text = re.sub(r"(split: test)}", r"\1, count: 48}", text)
        path.write_text(text, encoding="utf-8")
        smaller += changes
    assert smaller >= 4, "the tiny configs are written in another way: these tests would take long"


@contextmanager
def nothing(clean: Environment, folder: Path) -> Iterator[None]:
    """Most pages begin with nothing but the configs."""
    yield


@contextmanager
def contest(clean: Environment, folder: Path) -> Iterator[None]:
    """A stand-in for five million pictures: two hundred, behind a server on loopback."""
    clean.done("engine", "data", "make", "shapes", "made", "--count", "200", "--test-count", "48",
               "--set", "size=64", cwd=folder)  # fmt: skip
    made = folder / "made"
    (folder / "data").mkdir()
    (made / "test").rename(folder / "data" / "test")
    handler = functools.partial(Quiet, directory=str(made / "train" / "images"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shutil.copy(made / "train" / "metadata.json", folder / "metadata.json")
        rows = (made / "train" / "metadata.json").read_text(encoding="utf-8").splitlines()
        urls = [
            json.dumps({"image": n, "url": f"http://127.0.0.1:{server.server_port}/{n}.jpg"})
            for n in (json.loads(row)["image"] for row in rows)
        ]
        (folder / "images.json").write_text("\n".join(urls) + "\n", encoding="utf-8")
        yield
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that writes no log."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


PREPARATIONS: dict[str, Callable[[Environment, Path], AbstractContextManager[None]]] = {
    "contest.md": contest
}

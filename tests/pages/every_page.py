"""Every page that Engine writes, from one small model: a page by its name, and what makes it.

python -m tests.pages.every_page FOLDER       # to look at them
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.cli import main

LITTLE = """
engine: 1
name: a-small-model-whose-name-is-as-long-as-names-of-models-may-be
model:
  embed_dim: 8
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 8, layers: 1, heads: 2}
  text:
    {use: gpt3small, width: 8, layers: 1, heads: 1, vocab_size: 400, max_tokens: 8,
     n_positions: 16, tokenizer: {use: trained}}
  projection:
    vision: {use: linear}
    text: {use: clustered_light, count: 3, of: {use: linear}}
clusters:
  embedder: {use: tfidf_svd, width: 16}
  clusterer: {use: kmeans, count: 3}
data:
  train: {use: click_log, path: data/train}
  evaluate:
    - {use: zero_shot_folder, path: data/test/shapes, truth: data/test/gt.json}
train:
  device: cpu
  threads: 1
  loggers: []
  stages:
    - {name: проекции, trains: {}, epochs: 1, batch_size: 32}
    - {name: all of both towers, trains: {text: true, vision: true}, epochs: 1, batch_size: 32,
       optimizer: {use: adamw, lr: 1.0e-3}}
"""

SWEEP = """
engine: 1
name: rates
config: little.yaml
keys: {train.stages.1.optimizer.lr: [1.0e-3, 1.0e-2]}
halving: {rungs: 1}
"""

SUITE = """
engine: 1
name: small
limits: [20 kB, 1 MB]
entries:
  - {name: one, artifact: runs/a/model}
  - {name: an-entry-whose-name-is-as-long-as-names-of-entries-may-be, predictions: answers.json}
  - {name: gone, artifact: nowhere}
data: [{folder: data/test}]
measure: {speed: false}
"""

PAGES: dict[str, tuple[str, ...]] = {
    "gallery.html": ("predict", "runs/a", "data/test", "-o", "answers.json", "--html"),
    "answers.html": ("predict", "runs/a", "data/test/shapes/img", "--classes",
                     "красный круг,синяя звезда", "-o", "a.csv", "--html"),
    "scored.html": ("eval", "runs/a", "data/test", "--html"),
    "curves.html": ("show", "runs/a", "--html"),
    "curves-of-two.html": ("show", "runs/a", "runs/b", "--html"),
    "clusters.html": ("cluster", "show", "runs/a/model", "--html"),
    "statistics.html": ("data", "stats", "data/train", "--html"),
    "sheet.html": ("data", "show", "data/train", "-o"),
    "filtered.html": ("data", "filter", "data/train", "--score", "-m", "runs/a", "--keep", "0.8",
                      "--html"),
    "hits.html": ("search", "my.index", "красный круг", "--top", "6", "--html"),
    "twins.html": ("index", "--duplicates", "my.index", "--html"),
    "fit.html": ("fit", "runs/a/model", "--limit", "26kB", "--data", "data/test", "--texts",
                 "queries.txt", "--budget", "1", "-o", "build/fitted", "--html"),
    "sweep.html": ("sweep", "sweep.yaml", "--html"),
    "leaderboard.html": ("bench", "run", "suite.yaml", "--html"),
}  # fmt: skip
"""Each page with the command that writes it, its name last. The page of `engine serve` comes from
its address."""

BEFORE: tuple[tuple[str, ...], ...] = (
    ("data", "make", "shapes", "data", "--count", "60", "--test-count", "24", "--set", "size=24"),
    ("train", "little.yaml", "-o", "runs/a"),
    ("train", "little.yaml", "-o", "runs/b", "--set", "seed=1"),
    ("index", "data/test", "-m", "runs/a", "-o", "my.index"),
)


def make_pages(folder: Path, engine: Callable[..., None]) -> dict[str, Path]:
    """Write every page into the folder, which is the working folder.

    Args:
        folder: where one works.
        engine: runs a command, and raises where it fails.
    """
    for name, text in (("little", LITTLE), ("sweep", SWEEP), ("suite", SUITE)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    (folder / "queries.txt").write_text("красный круг\nсиняя звезда\n" * 8, encoding="utf-8")
    for words in BEFORE:
        engine(*words)
    for name, words in PAGES.items():
        engine(*words, name)
    return {name: folder / name for name in PAGES}


def options_of_pages() -> Iterator[str]:
    """Every command with an option ``--html``, as its words."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[str]:
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, (*words, name))
        if any("--html" in parameter.opts for parameter in getattr(command, "params", ())):
            yield " ".join(words)

    yield from walk(main_command(), ())


def main_command() -> object:
    """The command line as click sees it, every group loaded."""
    import click
    import typer

    app = importlib.import_module("engine.cli.main").app
    group = typer.main.get_command(app)
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    loaded = {
        name: getattr(each, "loaded", lambda each=each: each)() for name, each in found.items()
    }
    return type("Loaded", (), {"commands": loaded, "params": []})()


@contextmanager
def arguments(*words: str) -> Iterator[None]:
    """``sys.argv`` of a command."""
    before = sys.argv
    sys.argv = ["engine", *words]
    try:
        yield
    finally:
        sys.argv = before


def here(*words: str) -> None:
    """Run a command in this process.

    Raises:
        RuntimeError: it failed.
    """
    with arguments(*words):
        try:
            main.run()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"engine {' '.join(words)}: {stop.code}") from stop


if __name__ == "__main__":
    import os

    os.chdir(sys.argv[1])
    make_pages(Path(), here)

"""``engine demo``: the whole way on drawn data, from a config to a page; no checkout is needed.

Its config is the one of a checkout's ``configs/tiny`` and lies in the package (a test compares the
two). Each step is a command that is printed first, so that it can be repeated by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from engine.contracts.command import Command
from engine.errors import DataError, TrainingError

CONFIGS = Path(__file__).parent / "configs"
MAIN = "sber_cluster.yaml"


def steps(folder: Path, overrides: tuple[str, ...] = ()) -> list[list[str]]:
    """The commands of the demo, without ``engine``.

    Args:
        folder: everything lies there.
        overrides: of the config, ``KEY=VALUE`` each.
    """
    config, data, run = folder / "config" / MAIN, folder / "data", folder / "run"
    given = [word for override in overrides for word in ("--set", override)]
    answers, page = folder / "predictions.json", folder / "gallery.html"
    commands: list[list[str | Path]] = [
        ["size", config],
        ["data", "make", "shapes", data, "--force"],
        ["train", config, "-o", run, "--force", *given],
        ["predict", run / "model", data / "test", "-o", answers, "--html", page],
        ["eval", "--predictions", answers, "--truth", data / "test" / "gt.json"],
    ]
    return [[str(word) for word in words] for words in commands]


class Demo(Command):
    """Draw data, train a tiny clustered model, classify pictures, show them on a page."""

    def app(self) -> Callable[..., None]:
        """The command."""
        return demo


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Everything is written there.")
    ] = Path("engine-demo"),
    force: Annotated[
        bool, typer.Option("--force", help="Do it again in a folder of an earlier demo.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the config."),
    ] = None,
) -> None:
    """Draw pictures with Russian queries, train a tiny model on them, and show its answers.

    Nothing is downloaded. Some minutes on two cores; ends with a page, gallery.html.
    """
    _take(output, force=force)
    for words in steps(output, tuple(overrides or ())):
        _run(words)
    typer.echo(f"Look at {output / 'gallery.html'}: pictures of combinations that training never"
               " showed, with the model's answers.")  # fmt: skip


def _take(folder: Path, *, force: bool) -> None:
    """Make the folder and write the configs there.

    Raises:
        DataError: it holds something, and not an earlier demo that may be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is not a folder", hint="choose another one with -o")
    held = folder.exists() and any(folder.iterdir())
    ours = (folder / "config" / MAIN).is_file()
    if held and not (ours and force):
        hint = "--force does it again there" if ours else "choose another folder with -o"
        raise DataError(f"{folder} is not empty", hint=hint)
    (folder / "config").mkdir(parents=True, exist_ok=True)
    for config in CONFIGS.glob("*.yaml"):
        shutil.copyfile(config, folder / "config" / config.name)


def _run(words: list[str]) -> None:
    """Print a command and run it.

    Raises:
        TrainingError: it failed; its own error stands above.
        typer.Exit: a signal stopped it.
    """
    typer.echo(f"$ engine {' '.join(words)}")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "engine", *words], env=dict(os.environ))
    if done.returncode > 2:
        raise typer.Exit(done.returncode)
    if done.returncode:
        raise TrainingError(
            f"the demo stopped: `engine {words[0]}` failed with exit code {done.returncode}",
            hint="the error above says why; `engine demo --force` starts again",
        )

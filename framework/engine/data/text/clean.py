"""Cleaning a table of queries: the steps of a config in passes over the file.

Steps that need no other image share one pass, in several processes. A step that must see the whole
table ends a pass: what it needs of each text (8 bytes, or a few sketches) goes to disk, and the
next pass leaves out what it decided to drop. So memory holds one flag for each text.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.core.files import check_target, replacing, scratch
from engine.core.progress import Progress, silent
from engine.data.text.parallel import ordered, workers_for
from engine.data.text.settings import CleaningStep, CleanSettings
from engine.data.text.spill import Spill
from engine.data.text.stage import Done, Piece, Stage, Tally, Work, is_local, make_local, make_table
from engine.data.text.summary import shorten
from engine.data.text.table import TextBatch, TextTable, find_table, open_table
from engine.errors import DataError

CLEAN = "metadata.clean.json"
REPORT = "clean.report.json"


@dataclass
class Cleaned:
    """What the cleaning did.

    Attributes:
        table: what was read.
        output: the file written.
        report: the file that says all this.
        settings: the config.
        images, queries: before.
        images_left, queries_left: after.
        tallies: of each step, in order.
    """

    table: TextTable
    output: Path
    report: Path
    settings: CleanSettings
    images: int = 0
    queries: int = 0
    images_left: int = 0
    queries_left: int = 0
    tallies: list[Tally] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "input": str(self.table.path),
            "output": str(self.output),
            "bad_lines": self.table.bad_json(),
            "images": {
                "read": self.images,
                "written": self.images_left,
                "without_text": self.images - self.images_left,
            },
            "queries": {"read": self.queries, "written": self.queries_left},
            "steps": [
                {
                    **step.to_config(),
                    "touched": tally.touched,
                    "dropped": tally.dropped,
                    "examples": [
                        [shorten(before), after if after is None else shorten(after)]
                        for _, before, after in tally.examples
                    ],
                }
                for step, tally in zip(self.settings.steps, self.tallies, strict=True)
            ],
        }


@dataclass
class _Written:
    """What a pass wrote: where each piece begins and ends, and how many texts it has."""

    pieces: list[tuple[int, int, int]] = field(default_factory=list)
    images: int = 0
    texts: int = 0


def output_paths(table: Path, name: str = CLEAN) -> tuple[Path, Path]:
    """Where a cleaned table and its report go: beside the table.

    Raises:
        DataError: the name is not a plain file name, or it is the table's own.
    """
    if Path(name).name != name or name in (".", ".."):
        raise DataError(
            f"the cleaned table cannot be called {name!r}: expected a plain file name",
            hint="it is written beside the table, so that the images are found",
        )
    output = table.parent / name
    stem = name.removeprefix("metadata.").removesuffix(".json") or name
    report = table.parent / f"{stem}.report.json"
    for path in (output, report):
        if path.exists() and path.samefile(table):
            raise DataError(f"{path} is the table itself, which is never changed")
        check_target(path)
    return output, report


def clean(
    path: Path,
    settings: CleanSettings,
    *,
    name: str = CLEAN,
    workers: int | None = None,
    progress: Progress = silent,
) -> Cleaned:
    """Clean a table. The result does not depend on the number of workers.

    Args:
        path: the folder of the data, or the file of queries itself.
        settings: the steps.
        name: of the file to write, beside the table.
        workers: processes (default: what pays).
        progress: shows how far it is.

    Raises:
        DataError: there is no table, no good line, a step cannot be set up, or no text is left
            (nothing is written then).
    """
    path = find_table(path)
    output, report = output_paths(path, name)
    for step in settings.steps:
        if is_local(step):
            make_local(step)  # a missing extra is reported here, not by a dying worker
    workers = workers_for(path.stat().st_size, workers)
    with scratch(path) as folder, contextlib.ExitStack() as files:
        table = open_table(path, folder, workers, progress)
        done = Cleaned(table, output, report, settings)
        done.tallies = [Tally() for _ in settings.steps]
        target = files.enter_context(replacing(output))
        _run(done, folder, target, workers, progress)
        if not done.queries_left:
            raise _nothing_left(done)
        text = json.dumps(done.to_json(), ensure_ascii=False, indent=1)
        files.enter_context(replacing(report)).write(text.encode())
    return done


def stages(steps: tuple[CleaningStep, ...]) -> list[Stage]:
    """Cut the steps into passes."""
    found: list[Stage] = []
    before: int | None = None
    local: list[tuple[int, CleaningStep]] = []
    for number, step in enumerate(steps):
        if is_local(step):
            local.append((number, step))
        else:
            found.append(Stage(before, tuple(local), (number, step)))
            before, local = number, []
    if local or before is not None:
        found.append(Stage(before, tuple(local), None))
    return found


def _run(done: Cleaned, folder: Path, target: IO[bytes], workers: int, progress: Progress) -> None:
    passes = stages(done.settings.steps)
    items: Iterator[TextBatch | Piece] = done.table.batches(progress, f"pass 1 of {len(passes)}")
    written = _Written()
    with contextlib.ExitStack() as open_files:
        for number, stage in enumerate(passes):
            last = number == len(passes) - 1
            file = target if last else open_files.enter_context((folder / str(number)).open("w+b"))
            spill = None
            if stage.table is not None:
                step = make_table(stage.table[1])
                spill = Spill(folder / f"rows{number}", step.dtype)
                open_files.callback(spill.close)
            written = _pass(done, stage, items, file, spill, workers)
            if spill is not None:
                drop = np.zeros(written.texts, bool)
                step.decide(spill, drop, written.images, progress)
                what = f"pass {number + 2} of {len(passes)}"
                items = _pieces(file, written, drop, progress, what)
    done.images_left, done.queries_left = written.images, written.texts


def _pass(
    done: Cleaned, stage: Stage, items: Iterator[TextBatch | Piece], file: IO[bytes],
    spill: Spill | None, workers: int,
) -> _Written:  # fmt: skip
    written, place = _Written(), 0
    results: Iterator[Done] = ordered(Work, stage, items, workers)
    for result in results:
        if stage.before is None:
            done.images += result.images_read
            done.queries += result.read
        for number, tally in result.tallies.items():
            done.tallies[number].add(tally)
        if spill is not None and result.rows is not None:
            result.rows["text"] += np.uint64(written.texts)
            spill.add(result.rows)
        file.write(result.data)
        written.pieces.append((place, len(result.data), result.texts))
        place += len(result.data)
        written.images += result.images
        written.texts += result.texts
    return written


def _pieces(
    file: IO[bytes], written: _Written, drop: NDArray[np.bool_], progress: Progress, what: str
) -> Iterator[Piece]:
    """What a pass wrote, read again piece by piece."""
    first = 0
    for number, (place, size, texts) in enumerate(written.pieces, 1):
        file.seek(place)
        yield Piece(file.read(size), drop[first : first + texts])
        first += texts
        progress(what, number, len(written.pieces))


def _nothing_left(done: Cleaned) -> DataError:
    worst = sorted(
        zip(done.settings.steps, done.tallies, strict=True), key=lambda pair: -pair[1].dropped
    )
    message = ", ".join(
        f"{step.name} {tally.dropped:,}" for step, tally in worst[:3] if tally.dropped
    )
    return DataError(
        f"no text of {done.table.path} is left, so nothing was written; dropped: {message}",
        hint="leave out a step, or loosen its settings (--set steps.N.SETTING=VALUE)",
    )

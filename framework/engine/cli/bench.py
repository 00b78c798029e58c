"""``engine bench``: suites of models under limits; is a difference real?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from engine.cli.inputs import check_files, check_folder, files_of_suite
from engine.cli.options import Json, Overrides
from engine.cli.predict import BackendOption

if TYPE_CHECKING:
    from engine.bench.compare import Side
    from engine.bench.run import Bench
    from engine.bench.schedule import Doing, Watch
    from engine.bench.suite import SuiteSettings

DEFAULT = Path("benchmarks/small.yaml")
"""The suite of ``engine bench`` without an argument, in a checkout of Engine."""

FORMS = (".html", ".md", ".csv", ".json", ".tex")


class _Group(TyperGroup):
    """``engine bench SUITE`` is ``engine bench run SUITE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Train, evaluate and compare models under limits on their bytes. `engine bench SUITE` runs"
    " a suite (options: `engine bench run --help`), `engine bench` the small one of a checkout.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("run", short_help="Run a suite and show its leaderboard (the default).")
def run(
    suite: Annotated[
        Path | None, typer.Argument(help=f"The suite, a YAML file ({DEFAULT}).")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="For results and trained models (build/bench/NAME).")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Bytes allowed, instead of the suite's limits; again.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Every entry also made to fit under each of these limits: 10MB,25MB,100MB.",
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once.")] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where models train and answer, instead of the suite's."),
    ] = None,
    backend: BackendOption = None,
    contest: Annotated[
        bool,
        typer.Option("--contest", help="Also a run of each: one thread, no network, cold start."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes (FOLDER/leaderboard.html).")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            help="Also write the leaderboard: .html, .md, .csv, .json, .tex; again.",
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures of a paper, as SVG and PDF.")
    ] = None,
    clip_benchmark: Annotated[
        Path | None, typer.Option(help="Folder for results in CLIP_benchmark's layout.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Folder for every entry's answers in the contest's layout.")
    ] = None,
    on: Annotated[
        Literal["ray"] | None, typer.Option(help="Spread entries over a Ray cluster.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit code 1 where an entry failed or data were left out."),
    ] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Run what is left of a suite and show its leaderboard.

    Every entry is trained and evaluated in a process of its own. What was done before is not done
    again, a killed run goes on, and an entry that fails is a row with its error. Exit code 0 also
    then, unless `--strict` is given; 2 where nothing at all could be evaluated.
    """
    from engine.bench.run import LEADERBOARD, PAGE, run_suite
    from engine.errors import DataError

    settings = _suite(suite, overrides or [], limit, fit, jobs, device, backend, contest=contest)
    read = files_of_suite(suite or DEFAULT, settings)
    out = folder or Path("build/bench") / settings.name
    page = html or out / PAGE
    targets = [page, *(output or [])]
    for target in targets:
        if target.suffix.lower() not in FORMS:
            raise DataError(f"{target}: a leaderboard is written as one of {', '.join(FORMS)}")
    check_files([*targets, *_prediction_files(settings, predictions)], read)
    check_folder(clip_benchmark, [path for path in read if path.suffix == ".json"])
    check_folder(figures, [path for path in read if path.suffix in (".svg", ".pdf")])
    with _watching() as watch:
        if on == "ray":
            from engine.bench.on_ray import run_on_ray

            bench = run_suite(settings, out, watch=watch, run=run_on_ray)
        else:
            bench = run_suite(settings, out, watch=watch)
    for target in (*targets, out / LEADERBOARD):
        _write(bench, target)
    if figures is not None:
        from engine.bench.figures import write_figures

        write_figures(figures, bench.leaderboard, bench.answers)
    if clip_benchmark is not None:
        _write_clip_benchmark(bench, clip_benchmark)
    if predictions is not None:
        _write_predictions(bench, predictions)
    _tell(bench, page, as_json=json)
    if not bench.outcomes:
        raise DataError(
            "not one entry could be evaluated", hint=f"what each process said: {out / 'logs'}"
        )
    if strict:
        _check_strict(bench)


def _check_strict(bench: Bench) -> None:
    """Raise where anything of the suite is missing.

    Raises:
        typer.Exit: with code 1; says what.
    """
    leaderboard = bench.leaderboard
    failed = sum(len(row.failed) for row in leaderboard.rows)
    if not failed and not leaderboard.skipped:
        return
    from engine.cli.tables import print_warning

    print_warning(
        f"--strict: {failed} trainings or entries failed, {len(leaderboard.skipped)} data sets"
        " were left out"
    )
    raise typer.Exit(1)


def _suite(
    path: Path | None,
    overrides: list[str],
    limits: list[str] | None,
    fit: str | None,
    jobs: int | None,
    device: str | None,
    backend: str | None,
    *,
    contest: bool,
) -> SuiteSettings:
    from engine.bench.suite import load_suite
    from engine.errors import ConfigError

    if path is None:
        if not DEFAULT.is_file():
            raise ConfigError(
                f"there is no {DEFAULT} here",
                hint="name a suite: `engine bench SUITE.yaml`; the small one comes with a checkout"
                " of Engine, to be run in its folder",
            )
        path = DEFAULT
    given = list(overrides)
    if limits:
        given.append("limits=[" + ", ".join(f"'{each}'" for each in limits) + "]")
    if fit is not None:
        sizes = [each.strip() for each in fit.split(",") if each.strip()]
        given.append("fit=[" + ", ".join(f"'{each}'" for each in sizes) + "]")
    if jobs is not None:
        given.append(f"jobs={jobs}")
    if device is not None:
        given.append(f"device={device}")
    if backend is not None:
        given.append(f"backend={backend}")
    if contest:
        given.append("measure.contest=true")
    return load_suite(path, given)


@contextmanager
def _watching() -> Iterator[Watch]:
    """A bar and a line for each process; without a terminal, a line for each that ends."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from engine.core.terminal import console, live

    shown = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with live(Progress(*columns, console=shown, disable=not shown.is_terminal)) as bar:
        whole = bar.add_task("bench", total=None)
        lines: dict[str, Any] = {}
        before: dict[str, Doing] = {}

        def watch(done: int, total: int, doing: Sequence[Doing]) -> None:
            bar.update(whole, completed=done, total=total)
            now = {f"{each.title}, {each.phase}": each for each in doing}
            for key in [key for key in lines if key not in now]:
                bar.remove_task(lines.pop(key))
            for key, each in now.items():
                if key not in lines:
                    lines[key] = bar.add_task(key, total=None)
                bar.update(lines[key], description=f"  {key}: {each.line[:60]}")
            if not shown.is_terminal:
                for key in before.keys() - now.keys():
                    seconds = time.monotonic() - before[key].since
                    print(f"{key}: {seconds:.0f} s ({done} of {total})", file=sys.stderr)
            before.clear()
            before.update(now)

        yield watch


def _write(bench: Bench, path: Path) -> None:
    from engine.bench import renderers, tables
    from engine.core.files import write_text

    suffix = path.suffix.lower()
    if suffix == ".html":
        from engine.bench.page.page import write_page

        write_page(path, bench.leaderboard, bench.answers, bench.picture)
        return
    make = {
        ".md": renderers.to_markdown,
        ".tex": renderers.to_latex,
        ".csv": tables.to_csv,
        ".json": tables.to_json,
    }[suffix]
    write_text(path, make(bench.leaderboard))


def _write_clip_benchmark(bench: Bench, folder: Path) -> None:
    import json

    from engine.bench.interchange import clip_benchmark_json, clip_benchmark_name
    from engine.core.files import write_text

    for result in bench.leaderboard.results:
        for each in clip_benchmark_json(result, bench.leaderboard.declarations):
            write_text(folder / clip_benchmark_name(each), json.dumps(each) + "\n")


def _prediction_files(suite: SuiteSettings, folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    return [
        folder / f"{entry.name}.{seed}.json"
        for entry in suite.all_entries
        for seed in suite.seeds_of(entry)
    ]


def _write_predictions(bench: Bench, folder: Path) -> None:
    import json

    from engine.bench.interchange import contest_predictions
    from engine.core.files import write_text

    for outcome in bench.outcomes:
        name = f"{outcome.result.entry}.{outcome.result.seed}.json"
        answers = contest_predictions(outcome.answers)
        write_text(folder / name, json.dumps(answers, ensure_ascii=False, indent=1) + "\n")


def _tell(bench: Bench, page: Path, *, as_json: bool) -> None:
    import json

    from engine.bench.renderers import tables
    from engine.bench.tables import to_json
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json(json.loads(to_json(bench.leaderboard)), indent=1)
        return
    console = stdout()
    for each in tables(bench.leaderboard, console.width):
        console.print(each)
    console.print(f"the page: {page}")


@app.command("compare", short_help="Is the difference between two entries real?")
def compare_command(
    a: Annotated[str, typer.Argument(help="An entry of the bench, or a file of predictions.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Of the bench that the entries are of (the only one in build/bench)."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="The right answers, for files of predictions.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two on the same images, image by image.

    McNemar's exact test for each data set, a paired test of the mean accuracies, and one of every
    other installed metric.
    """
    from engine.bench.compare import compare
    from engine.cli.compare_tables import compare_table, metrics_table
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json

    compared = compare(_side(a, folder, truth), _side(b, folder, truth))
    if json:
        print_json(compared.to_json())
        return
    stdout().print(compare_table(compared))
    if compared.metrics:
        stdout().print(metrics_table(compared))
    stdout().print(compared.verdict())


def _side(name: str, folder: Path | None, truth: Path | None) -> Side:
    from engine.bench.compare import side_of_predictions
    from engine.bench.run import only_bench, side_of_entry
    from engine.errors import DataError

    path = Path(name)
    if not path.is_file():
        return side_of_entry(folder or only_bench(), name)
    if truth is None:
        raise DataError(f"{name} holds predictions alone", hint="add the answers: --truth gt.json")
    return side_of_predictions(path, truth)

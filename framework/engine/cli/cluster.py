"""``engine cluster``: clusters of meaning among the queries: fit, show, assign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.inputs import check_files, files_of_artifact
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.clusters.store import Clusters

app = typer.Typer(
    help="Clusters of meaning among the queries.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Where = Annotated[
    Path, typer.Argument(help="An artifact, or a folder that `engine cluster fit` wrote.")
]


@app.command("fit", short_help="Find clusters among the queries of data.train.")
def fit(
    config: Annotated[Path, typer.Argument(help="A config with a section `clusters`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder (build/NAME).")
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Find clusters among the queries of data.train; writes them and a page, clusters.html.

    `engine build` does this too. Here they go into a folder of their own, which a later build
    replaces; or, where an artifact of the same config stands there, into that, its weights
    untouched.
    """
    from engine.cli.progress import working
    from engine.core.config import load_config

    settings = load_config(config, overrides or ())
    folder = output or Path("build") / settings.name

    from engine.clusters.pipeline import fit as fit_clusters
    from engine.clusters.place import check_destination, put

    check_destination(folder, settings)
    with working(f"clusters of {settings.name}") as progress:
        clusters = fit_clusters(settings, progress)
        progress("writing")
        put(clusters, folder, settings)
    _print(clusters, folder, as_json=json)
    if not json:
        _tell(f"look at {folder / 'clusters.html'}")


@app.command("show", short_help="Names, sizes and typical texts of clusters.")
def show(
    where: Where,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with a map of the texts.")
    ] = None,
    json: Json = False,
) -> None:
    """Show clusters: names, sizes, typical texts, how well held-out n-grams are put right."""
    from engine.cli.progress import working
    from engine.clusters.report import page_of
    from engine.clusters.store import read
    from engine.core.files import write_text

    check_files([html], files_of_artifact(where))
    clusters = read(where)
    if html is not None:
        with working("drawing the map"):
            page = page_of(clusters, where.resolve().name)
        write_text(html, page)
    _print(clusters, where, as_json=json, html=html)
    if html is not None and not json:
        _tell(f"written to {html}")


@app.command("assign", short_help="Put queries into clusters, one a line on stdin.")
def assign(
    where: Where,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Put queries into clusters: one a line on stdin; cluster, its name and the query on stdout.

    Cluster -1: nothing is known of the query. Lines are answered as they come, so that millions
    may follow each other.
    """
    from engine.clusters.assign import read_lines
    from engine.clusters.store import UNKNOWN, read
    from engine.core.terminal import print_data, print_json, reader_gone
    from engine.errors import DataError
    from engine.printable import one_line

    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(
            "the queries come from stdin, and nothing is connected to it",
            hint=f"`engine cluster assign {where} < queries.txt`",
        )
    clusters = read(where)
    names = {UNKNOWN: "", **{i: one_line(name) for i, name in enumerate(clusters.names)}}
    _warn(clusters)
    for lines in read_lines(sys.stdin.buffer):
        found = clusters.assign(lines).tolist()
        for label, line in zip(found, lines, strict=True):
            if json:
                print_json({"cluster": label, "name": names[label], "query": line})
            else:
                print_data(f"{label}\t{names[label]}\t{line}")
        sys.stdout.flush()
        if reader_gone():
            return


def summary(clusters: Clusters, folder: Path) -> str:
    """Two lines: what was fitted, and its bytes."""
    from engine.cli.tables import human

    document, accuracy = clusters.document, clusters.accuracy
    right = (
        ""
        if accuracy is None
        else f", {accuracy:.1%} of the held-out ones put right (chance {1 / clusters.count:.1%})"
    )
    return (
        f"clusters: {clusters.count} of {len(document.texts):,} n-grams"
        f" ({document.embedder.used['use']}, {document.clusterer['use']}){right}\n"
        f"  {human(_bytes(folder))} beside the weights, which no limit counts: training needs them,"
        " prediction does not"
    )


def _bytes(folder: Path) -> int:
    from engine.core.artifact import CLUSTERS, CLUSTERS_JSON

    return sum((folder / name).stat().st_size for name in (CLUSTERS, CLUSTERS_JSON))


def _print(clusters: Clusters, folder: Path, *, as_json: bool, html: Path | None = None) -> None:
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json(_report(clusters, folder, html))
    else:
        stdout().print(_table(clusters))
        stdout().print(summary(clusters, folder))
    _warn(clusters)


def _report(clusters: Clusters, folder: Path, html: Path | None) -> dict[str, Any]:
    from engine.core.artifact import CLUSTERS, CLUSTERS_JSON

    document = clusters.document
    return {
        "folder": str(folder),
        "html": str(html) if html else None,
        **clusters.manifest(),
        "read": document.read,
        "distinct": document.distinct,
        "scores": document.scores,
        "bytes": {n: (folder / n).stat().st_size for n in (CLUSTERS, CLUSTERS_JSON)},
        "clusters": [cluster.model_dump() for cluster in document.clusters],
    }


def _table(clusters: Clusters) -> Any:
    from rich.table import Table
    from rich.text import Text

    from engine.clusters.report import table_rows
    from engine.printable import one_line

    table = Table()
    for name in ("", "cluster", "n-grams", "share", "occurrences", "right", "typical"):
        left = name in ("cluster", "typical")
        table.add_column(
            name, justify="left" if left else "right", no_wrap=not left, ratio=2 if left else None
        )
    for row in table_rows(clusters):
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def _warn(clusters: Clusters) -> None:
    from engine.cli.tables import print_warning

    for warning in clusters.warnings:
        print_warning(warning)


def _tell(line: str) -> None:
    from engine.cli.tables import stdout

    stdout().print(line)

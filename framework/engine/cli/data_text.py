"""``engine data clean``, ``stats`` and ``show``: texts cleaned, data understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.inputs import check_files, files_of_table
from engine.cli.options import Json
from engine.cli.progress import sharing
from engine.printable import one_line

if TYPE_CHECKING:
    from engine.data.sheet import Sheet
    from engine.data.text.clean import Cleaned
    from engine.data.text.stats import Stats

Out = Annotated[
    Path, typer.Argument(help="Folder of the data (with metadata.json), or the file of queries.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes (default: one a core for large files).")
]


def _list_steps(wanted: bool) -> None:
    """Print every cleaning step with its settings, and stop."""
    if not wanted:
        return
    from rich.table import Table

    from engine.cli.tables import stdout
    from engine.data.text.settings import STEPS

    table = Table("step", "what it does", "settings, with their defaults")
    for name, settings in STEPS.items():
        fields = [
            f"{key}: {field.default!r}" + (f" ({field.description})" if field.description else "")
            for key, field in settings.model_fields.items()
        ]
        what = " ".join((settings.__doc__ or "").split())
        table.add_row(name, _plain(what), _plain("\n".join(fields)))
    stdout().print(table)
    raise typer.Exit


def clean(
    out: Out,
    config: Annotated[
        Path | None, typer.Option(help="The steps, a YAML file such as configs/data/clean.yaml.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override: --set steps.4.scripts=[russian]"
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="NAME", help="File to write beside the table.")
    ] = "metadata.clean.json",
    workers: Workers = None,
    list_steps: Annotated[
        bool,
        typer.Option("--steps", is_eager=True, callback=_list_steps, help="List the steps."),
    ] = False,
    json: Json = False,
) -> None:
    """Clean the texts: a new table beside the old one, and a report of what was dropped and why."""
    from engine.core.terminal import print_json
    from engine.data.text.clean import clean as run
    from engine.data.text.clean import output_paths
    from engine.data.text.settings import load_clean_settings
    from engine.data.text.table import find_table

    settings = load_clean_settings(config, overrides or ())
    check_files(output_paths(find_table(out), output), [config])
    with sharing() as progress:
        done = run(out, settings, name=output, workers=workers, progress=progress)
    if json:
        print_json(done.to_json())
    else:
        _show_cleaned(done)
    _warn_bad_lines(done.table.bad_json())


def _show_cleaned(done: Cleaned) -> None:
    from rich.table import Table
    from rich.text import Text

    from engine.cli.tables import stdout

    table = Table(title=str(done.table.path), title_justify="left", title_style="bold")
    table.add_column("step")
    table.add_column("changed", justify="right")
    table.add_column("dropped", justify="right")
    table.add_column("example", overflow="fold")
    for step, tally in zip(done.settings.steps, done.tallies, strict=True):
        example = Text()
        if tally.examples:
            _, before, after = tally.examples[0]
            example.append(_shown(before))
            example.append(" -> ", "dim")
            example.append("dropped" if after is None else _shown(after), "dim" * (after is None))
        table.add_row(step.name, f"{tally.touched:,}", f"{tally.dropped:,}", example)
    stdout().print(table)
    typer.echo(
        f"{done.queries_left:,} of {done.queries:,} queries and {done.images_left:,} of"
        f" {done.images:,} images are left, in {done.output}\n"
        f"what was changed and dropped, with examples: {done.report}\n"
        "\n"
        "In a config, beside `path` of the data set:\n"
        f"  metadata: {done.output.name}"
    )


def stats(
    out: Out,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with pictures, complete in one file.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="3-grams listed in the JSON.")] = 20_000,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Understand the texts: lengths, 3-grams, vocabulary, scripts, duplicates, samples."""
    from engine.core.files import replacing
    from engine.core.terminal import print_json
    from engine.data.text.stats import measure
    from engine.data.text.summary import to_json

    check_files([html], files_of_table(out))
    with sharing() as progress:
        found = measure(out, workers=workers, top=top, progress=progress)
    if html is not None:
        from engine.data.text.report import report

        with replacing(html) as file:
            file.write(report(found).encode())
    if json:
        print_json(to_json(found))
    else:
        _show_stats(found)
        if html is not None:
            typer.echo(f"written to {html}")
    _warn_bad_lines(found.table.bad_json())


def _show_stats(found: Stats) -> None:
    from rich.table import Table

    from engine.cli.tables import stdout
    from engine.data.text.counting import SCRIPTS
    from engine.data.text.summary import Spread, share
    from engine.report import percent

    counts = found.counts
    table = Table(title=str(found.table.path), title_justify="left", show_header=False)
    rows = [
        ("images", f"{counts.images:,}"),
        ("queries", f"{counts.queries:,}, {found.distinct_written:,} different"),
        ("words", f"{counts.words:,}, {found.distinct_words:,} different"),
        ("3-grams", f"{found.ngram_total:,}, {found.distinct_ngrams:,} different"),
    ]
    for name, histogram in (
        ("words a query", counts.words_per_query),
        ("letters a query", counts.letters_per_query),
        ("queries an image", counts.queries_per_image),
    ):
        spread = Spread.of(histogram)
        rows.append(
            (name, f"mean {spread.mean:.1f}, median {spread.median}, 95 % up to {spread.p95},"
             f" longest {spread.maximum:,}")
        )  # fmt: skip
    scripts = [f"{name} {percent(share(counts.scripts[name], counts.queries))}" for name in SCRIPTS]
    rows.append(("scripts", ", ".join(scripts)))
    near = percent(share(found.near, found.distinct_texts))
    rows.append(("near duplicates", f"{near} of different texts"))
    for name, tops in (("frequent words", found.words), ("frequent 3-grams", found.ngrams)):
        shown = ", ".join(f"{_shown(text)} ({count:,})" for text, count in tops[:8])
        rows.append((name, shown or "none"))
    for row in rows:
        table.add_row(row[0], _plain(row[1]))
    stdout().print(table)


def show(
    out: Out,
    count: Annotated[int, typer.Option(min=1, max=2000, help="Images.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice.")] = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The sheet: a page (.html) or a picture (.png).")
    ] = Path("sheet.html"),
    cluster: Annotated[int | None, typer.Option(min=0, help="Images of this cluster only.")] = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help='JSON lines {"image": 1, "cluster": 3} (OUT/clusters.json).'),
    ] = None,
    font: Annotated[Path | None, typer.Option(help="Font file for a PNG.")] = None,
    json: Json = False,
) -> None:
    """A contact sheet of random images with their queries."""
    from engine.cli.tables import print_warning
    from engine.core.files import replacing
    from engine.core.terminal import print_json
    from engine.data.sheet import CLUSTERS, choose, find_font, read_cluster, to_html, to_png
    from engine.data.text.table import find_table
    from engine.errors import DataError

    if output.suffix.lower() not in (".html", ".png"):
        raise DataError(f"{output}: a sheet is a page (.html) or a picture (.png)")
    table = find_table(out)
    read = [*files_of_table(out), clusters or table.parent / CLUSTERS, font]
    check_files([output], read)
    letters = find_font(font) if output.suffix.lower() == ".png" else None
    within = None
    if cluster is not None:
        within = read_cluster(clusters or table.parent / CLUSTERS, cluster)
    elif clusters is not None:
        raise DataError("--clusters has no use without --cluster N")
    dataset = _read_table(table)
    with sharing() as progress:
        sheet = choose(dataset, count, seed, within=within, cluster=cluster, progress=progress)
    data = to_html(sheet).encode() if letters is None else to_png(sheet, letters)
    with replacing(output) as file:
        file.write(data)
    if json:
        print_json(_sheet_json(sheet, output))
    else:
        typer.echo(f"{len(sheet.shown)} of {sheet.total:,} images, in {output}")
    for name, reason in sheet.broken[:8]:
        print_warning(f"image {_shown(name)} is not shown: {_shown(reason)}")


def _sheet_json(sheet: Sheet, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "images": sheet.total,
        "cluster": sheet.cluster,
        "shown": [shown.row.id for shown in sheet.shown],
        "broken": [{"image": name, "reason": reason} for name, reason in sheet.broken],
    }


def _read_table(table: Path) -> Any:
    """The data set of a table, read by the plugin."""
    from engine.core.registry import default_registry
    from engine.data.formats import CLICK_LOG

    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(CLICK_LOG))
    values = {"path": table.parent, "metadata": table.name}
    settings = plugin.load_settings().model_validate(values, context={"registry": registry})
    return plugin.load()(settings)


def _warn_bad_lines(bad: dict[str, Any]) -> None:
    from engine.cli.tables import print_warning

    if bad["count"]:
        listed = "; ".join(f"line {line['line']}: {line['reason']}" for line in bad["lines"][:3])
        more = "; ..." if bad["count"] > 3 else ""
        print_warning(f"{bad['count']:,} lines left out ({listed}{more})")


def _shown(text: str) -> str:
    return one_line(text, 60)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)

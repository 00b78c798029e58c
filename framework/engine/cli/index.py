"""``engine index``: pictures of any folders become an index that texts can search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Json
from engine.cli.predict import BackendName, BackendOption

if TYPE_CHECKING:
    from engine.search.building import IndexReport
    from engine.search.duplicates import DuplicateGroup


def command(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of pictures, with shards (.tar) in them or not."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="As for `engine predict` (the index's own)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="INDEX", help="Folder of the index.")
    ] = None,
    duplicates: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX", help="List the pictures of an index that are nearly the same."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="With --duplicates: write a page.")] = None,
    cosine: Annotated[
        float, typer.Option(min=0.9, max=1, help="With --duplicates: nearly the same from here.")
    ] = 0.97,
    whole: Annotated[
        bool, typer.Option("--whole", help="Decode large JPEGs whole: slower, exact vectors.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model's arithmetic (one a core).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read and decode (one a core).")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep vision features there.")
    ] = None,
    backend: BackendOption = None,
    json: Json = False,
) -> None:
    """Make an index of pictures, or bring one up to date.

    A second run reads only new and changed files, recognises files that were moved or renamed, and
    takes out what is gone. A run that was stopped goes on where it was. Pictures that cannot be
    read are listed, and looked at again in the next run.
    """
    from engine.errors import DataError

    if duplicates is not None:
        if photos or output or model:
            raise DataError("--duplicates takes an index alone, without folders, -o and -m")
        _duplicates(duplicates, cosine, html, as_json=json)
        return
    if html is not None:
        raise DataError("--html belongs to --duplicates; `engine search` writes pages too")
    if not photos or output is None:
        raise DataError("folders of pictures and -o INDEX are needed",
                        hint="engine index PHOTOS -m MODEL -o my.index")  # fmt: skip
    _index(photos, model, output, whole, threads, workers, cache, backend, as_json=json)


def _index(
    photos: list[Path],
    model: Path | None,
    output: Path,
    whole: bool,
    threads: int | None,
    workers: int | None,
    cache: Path | None,
    backend: BackendName | None,
    *,
    as_json: bool,
) -> None:
    import contextlib

    from engine.cli.models import open_model
    from engine.cli.progress import working
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json
    from engine.evaluate.features import FeatureCache
    from engine.search.building import build_index

    predictor, place = open_model(model, output, threads, backend)
    features = FeatureCache(cache) if cache else None
    try:
        with features or contextlib.nullcontext(), working("indexing") as progress:
            report = build_index(
                output, photos, predictor, model=place, workers=workers, reduced=not whole,
                features=features,
                progress=progress,
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("what was encoded is in the index; the same command goes on")
        raise
    for warning in predictor.warnings:
        print_warning(warning)
    broken = _broken(output)
    if as_json:
        print_json({**report.to_json(), "unreadable": broken})
        return
    for line in _lines(report):
        stdout().print(line, soft_wrap=True)
    for note in report.notes:
        print_warning(note)
    if broken:
        shown = "\n".join(f"  {each['path']}: {each['reason']}" for each in broken[:10])
        more = f"\n  and {len(broken) - 10:,} more (all in --json)" if len(broken) > 10 else ""
        print_warning(f"{len(broken):,} pictures cannot be read:\n{shown}{more}")


def _broken(folder: Path) -> list[dict[str, str]]:
    from engine.search.index import SearchIndex, name_of

    with SearchIndex(folder) as index:
        return [{"path": name_of(each), "reason": each.error} for each in index.broken()]


def _lines(report: IndexReport) -> list[str]:
    return [
        f"{report.found:,} pictures found: {report.encoded:,} encoded, {report.unchanged:,}"
        f" unchanged, {report.recognised:,} recognised by their bytes, {report.removed:,} gone",
        f"{report.folder}: {report.pictures:,} pictures ({report.vectors:,} different ones),"
        f" {report.seconds:,.1f} s",
    ]


def _duplicates(folder: Path, cosine: float, html: Path | None, *, as_json: bool) -> None:
    from engine.cli.inputs import check_files
    from engine.cli.progress import working
    from engine.cli.tables import stdout
    from engine.core.files import write_text
    from engine.core.terminal import print_json
    from engine.search.duplicates import find_duplicates

    check_files((html,), [folder])
    try:
        with working("comparing") as progress:
            groups = find_duplicates(folder, cosine, progress)
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("what was compared is kept; the same command goes on")
        raise
    if html:
        from engine.search.pages import duplicates_page

        write_text(html, duplicates_page(groups, str(folder), cosine))
    if as_json:
        print_json({"index": str(folder), "cosine": cosine, "groups": [_json(g) for g in groups]})
        return
    pictures = sum(len(group.entries) for group in groups)
    stdout().print(f"{len(groups):,} groups of {pictures:,} pictures that are nearly the same")
    for group in groups[:20]:
        stdout().print(f"cosine {group.lowest:.3f} and more:", style="bold")
        for each in _json(group)["pictures"][:6]:
            stdout().print(f"  {each}", soft_wrap=True)
    if html:
        stdout().print(f"written to {html}")


def _json(group: DuplicateGroup) -> dict[str, Any]:
    from engine.search.index import name_of

    return {"lowest": group.lowest, "pictures": [name_of(each) for each in group.entries]}

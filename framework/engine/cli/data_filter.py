"""``engine data filter``: a click log without the texts that do not match their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Json

if TYPE_CHECKING:
    from engine.contracts.dataset import Dataset


def command(
    data: Annotated[Path, typer.Argument(help="A click log: metadata.json with its images.")],
    score: Annotated[
        bool,
        typer.Option("--score", help="By the cosine of image and text."),
    ] = False,
    model: Annotated[
        Path | None, typer.Option("-m", "--model", help="An artifact or a training run.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write (DATA/metadata.filtered.json)."),
    ] = None,
    keep: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Share of the pairs to keep (0.9).")
    ] = None,
    above: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Instead: the smallest cosine to keep.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with examples.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model's arithmetic (one a core).")
    ] = None,
    json: Json = False,
) -> None:
    """Drop pairs of a click log whose text does not match the picture, by a model's cosines.

    DATA is not changed. The scores are kept beside the output: a run that was stopped goes on, and
    another --keep or --above costs nothing. Use the result with `metadata: metadata.filtered.json`
    in the settings of the data set.
    """
    from engine.cli.inputs import check_files, files_of_artifact
    from engine.cli.predict import open_predictor
    from engine.cli.progress import working
    from engine.cli.tables import print_warning, stdout
    from engine.core.files import write_text
    from engine.core.terminal import print_json
    from engine.errors import DataError
    from engine.search.scoring import filter_by_score, scores_file

    if not score or model is None:
        raise DataError(
            "name the filter and the model", hint="engine data filter DATA --score -m MODEL"
        )
    if keep is not None and above is not None:
        raise DataError("--keep and --above exclude each other")
    target = output or data / "metadata.filtered.json"
    check_files((target, html), [*files_of_artifact(model), data / "metadata.json", data / "images",
                                 data / "shards"])  # fmt: skip
    dataset = open_click_log(data)
    predictor = open_predictor(model, threads)
    share = 0.9 if keep is None and above is None else keep
    try:
        with working("scoring") as progress:
            report = filter_by_score(
                dataset, predictor, target, keep=share, above=above,
                progress=progress,
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("what was scored is kept; the same command goes on")
        raise
    if html:
        from engine.search.pages import scores_page

        write_text(html, scores_page(dataset, report, scores_file(target), target,
                                     str(predictor.config.name)))  # fmt: skip
    if json:
        print_json({"output": str(target), "scores": str(scores_file(target)), **report.to_json()})
    else:
        stdout().print(
            f"{report.kept_pairs:,} of {report.pairs:,} pairs kept, of {report.kept_rows:,} images:"
            f" cosines from {report.threshold:.4f}", soft_wrap=True,
        )  # fmt: skip
        stdout().print(f"written to {target}; {report.computed:,} images were scored now")
        if report.broken:
            first = report.unreadable[0]
            print_warning(f"{report.broken:,} images cannot be read and are left out; the first,"
                          f" {first['id']}: {first['reason']}")  # fmt: skip
    for warning in predictor.warnings:
        print_warning(warning)


def open_click_log(data: Path) -> Dataset:
    """A click log by the installed plugin that reads one."""
    from engine.core.registry import default_registry
    from engine.data.formats import CLICK_LOG

    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(CLICK_LOG))
    dataset: Dataset = plugin.load()(plugin.load_settings().model_validate({"path": data}))
    return dataset

"""``engine eval``: scores of a model, or of the contest's own files of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.inputs import check_files, files_of_artifact, files_of_tasks
from engine.cli.options import Device, Json
from engine.cli.predict import (
    BackendOption,
    BatchSize,
    Cache,
    Html,
    Limit,
    Only,
    Pictures,
    Probabilities,
    Threads,
    Workers,
    check_labels,
    open_datasets,
    open_predictor,
    predictions_json,
    read_labels,
    run_all,
    show_gallery,
    tell_of_cache,
    warn,
)

if TYPE_CHECKING:
    from rich.table import Table

    from engine.contracts.metric import Value
    from engine.evaluate.scores import Score


def command(
    artifact: Annotated[Path | None, typer.Argument(help="The model to evaluate.")] = None,
    data: Annotated[Path | None, typer.Argument(help="The data, as for `engine predict`.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score this file instead of a model (needs --truth).")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="The right answers (DATA_DIR/gt.json where it exists).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write the predictions.")
    ] = None,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    threads: Threads = None,
    backend: BackendOption = None,
    workers: Workers = None,
    limit: Limit = None,
    only: Only = None,
    cache: Cache = None,
    html: Html = None,
    pictures: Pictures = 60,
    probabilities: Probabilities = "softmax",
    json: Json = False,
) -> None:
    """Score zero-shot classification: every installed metric, by data set and over all.

    Either ARTIFACT DATA_DIR, or --predictions FILE --truth FILE (no model is loaded then). An image
    of the truth without an answer counts as wrong; an answer that the truth does not know is an
    error.
    """
    from engine.errors import DataError

    if predictions is not None:
        unused = {
            "ARTIFACT": artifact, "DATA_DIR": data, "--output": output, "--html": html,
            "--limit-samples": limit, "--cache": cache, "--backend": backend,
        }  # fmt: skip
        given = [name for name, value in unused.items() if value is not None]
        if given:
            raise DataError(f"--predictions scores a file: {', '.join(given)} has no use beside it")
        if truth is None:
            raise DataError("--predictions needs the right answers too", hint="add --truth gt.json")
        found, counted = score_file(predictions, truth, only)
        show(found, {"classes_counted": counted}, as_json=json)
        return
    if artifact is None or data is None:
        raise DataError(
            "nothing to score",
            hint="`engine eval ARTIFACT DATA_DIR`, or `engine eval --predictions P.json --truth"
            " gt.json`",
        )
    from engine.cli.tables import print_warning
    from engine.core.files import write_text
    from engine.printable import listed

    check_files((output, html), [*files_of_artifact(artifact), *files_of_tasks(data, truth)])
    labels = read_labels(data, truth)
    if labels is None:
        raise DataError(f"{data} has no gt.json", hint="name the right answers: --truth gt.json")
    datasets = open_datasets(data, only)
    names = [dataset.name for dataset in datasets]
    if not any(labels.get(name) for name in names):
        raise DataError(f"the truth has no answer for {listed(names)}; it knows: {listed(labels)}")
    check_labels(datasets, labels)
    predictor = open_predictor(artifact, threads, backend, device)
    runs = run_all(
        predictor, datasets, batch_size=batch_size, workers=workers, limit=limit, cache=cache,
        probabilities=probabilities,
    )  # fmt: skip

    from engine.evaluate.runner import score_runs

    score = score_runs(runs, labels)
    if score is None:
        raise DataError("the truth has no answer for any image that was classified")
    if output:
        write_text(output, predictions_json(runs, labels))
    if html:
        show_gallery(html, predictor, runs, labels, pictures, score)
    details = {
        "artifact": str(artifact), "name": predictor.config.name,
        "warnings": predictor.warnings, "runs": [run.to_json() for run in runs],
        "unlabelled": sum(run.unlabelled(labels.get(run.dataset.name, {})) for run in runs),
    }  # fmt: skip
    show(score, details, as_json=json)
    if cache and not json:
        tell_of_cache(runs)
    warn(predictor, runs)
    absent = [] if only else [name for name in labels if name not in names]
    if absent:
        print_warning(f"in the truth and not in {data}, so not in the mean: {listed(absent)}")


def score_file(
    predictions: Path, truth: Path, only: list[str] | None = None
) -> tuple[Score, list[str]]:
    """Score the contest's files (imports no torch).

    Returns:
        The score, and the data sets whose classes nobody named: they have as many as the largest
        index in the files needs. Names are read from the folders beside the truth.

    Raises:
        DataError: a file is missing or not in the format, or the two are not of the same data.
    """
    from engine.data.contest import read_predictions, read_truth
    from engine.errors import DataError, did_you_mean
    from engine.evaluate.scores import score

    labels, answers = read_truth(truth), read_predictions(predictions)
    for name in only or ():
        if name not in labels:
            raise DataError(f"{truth} knows no data set `{name}`{did_you_mean(name, labels)}")
    if only:
        labels = {name: labels[name] for name in only}
        answers = {name: answers[name] for name in only if name in answers}
    classes = classes_beside(truth, labels)
    return score(labels, answers, classes), [name for name in labels if name not in classes]


def classes_beside(truth: Path, names: Iterable[str]) -> dict[str, Sequence[str]]:
    """Names of the classes, by data set, of the contest's folders where the truth lies."""
    from engine.core.foreign import clean_name
    from engine.data.contest import CLASSES, read_classes

    found = [path for path in truth.parent.glob(f"*/{CLASSES}") if path.is_file()]
    files = {clean_name(path.parent.name): path for path in found}
    return {name: read_classes(files[name]) for name in names if name in files}


def show(score: Score, details: dict[str, object] | None, *, as_json: bool) -> None:
    """Print a score: one JSON object, or a table for people."""
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json
    from engine.printable import listed

    if as_json:
        print_json({**score.to_json(), **(details or {})})
    else:
        stdout().print(score_table(score))
        # The contest compares unrounded numbers, so this line has every digit.
        stdout().print(f"mean accuracy {score.accuracy!r} %, chance {score.chance:.2f} %")
    for each in score.datasets:
        if each.missing:
            print_warning(
                f"{each.name}: {each.missing:,} of {each.images:,} images have no answer and count"
                " as wrong"
            )
        undefined = sum(recall is None for recall in each.recall)
        if undefined and not as_json:
            stdout().print(
                f"{each.name}: {undefined} classes have no image; recall is not defined for them",
                style="dim",
            )  # fmt: skip
    counted: Any = (details or {}).get("classes_counted")
    if counted and not as_json:
        stdout().print(
            f"nobody names the classes of {listed(counted)}: they are counted by the largest index"
            " in the files, so the chance level may be too high",
            style="dim",
        )  # fmt: skip
    unlabelled = (details or {}).get("unlabelled")
    if unlabelled:
        print_warning(f"{unlabelled} images have no right answer in the truth and are not scored")


def score_table(score: Score) -> Table:
    """Data sets and what holds over them: a column for each metric, as it declares itself."""
    from rich.table import Table
    from rich.text import Text

    from engine.contracts.metric import PRIMARY
    from engine.evaluate.scores import METHOD

    table = Table(caption=METHOD, caption_justify="left")
    table.add_column("data set")
    for name in ("images", "classes"):
        table.add_column(name, justify="right")
    for each in score.declarations:
        table.add_column(Text(each.title), justify="right")
        if each.name == PRIMARY:
            table.add_column("95 % interval", justify="right")
            table.add_column("chance, %", justify="right")

    def add(
        cells: tuple[str, str, str],
        chance: float,
        metrics: Mapping[str, Value],
        style: str | None = None,
    ) -> None:
        row = list(cells)
        for each in score.declarations:
            value = metrics.get(each.name)
            # One digit more than a leaderboard: here a user looks at one model closely.
            row.append("-" if value is None else f"{value.value:.{each.digits + 1}f}")
            if each.name == PRIMARY:
                shown = value and value.interval
                row.append("-" if not shown else f"{shown.low:.2f} .. {shown.high:.2f}")
                row.append(f"{chance:.2f}")
        table.add_row(*row, style=style)

    for one in score.datasets:
        add((one.name, f"{one.images:,}", f"{one.classes:,}"), one.chance, one.metrics)
    table.add_section()
    images = sum(each.images for each in score.datasets)
    add(("mean", f"{images:,}", ""), score.chance, score.metrics, "bold")
    return table

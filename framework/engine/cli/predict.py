"""``engine predict``: photographs to classes: of any folder, or in the contest's own layout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from engine.cli.inputs import check_files, files_of_artifact, files_of_tasks
from engine.cli.options import Device, Json

if TYPE_CHECKING:
    from engine.contracts.dataset import Dataset
    from engine.evaluate.predictor import Predictor
    from engine.evaluate.runner import DatasetRun
    from engine.evaluate.scores import Labels, Score

T = TypeVar("T")
TOP = 5
"""Answers for each image that a page shows, and that `engine eval` scores."""

Kind = Literal["softmax", "sigmoid"]
BackendName = Literal["torch", "onnxruntime"]

Artifact = Annotated[
    Path, typer.Argument(help="The model: an artifact, a training run, or an ONNX export.")
]
BackendOption = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        help="What computes: onnxruntime also takes an export (int8 or float32); of an artifact it"
        " makes one beside it. Without: what the folder is for.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Images that run through the model at once.", show_default=True)
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the model's arithmetic (one a core).")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Threads that decode images (one a core, at most 8).")
]
Limit = Annotated[
    int | None, typer.Option("--limit-samples", min=1, help="Only so many images a data set.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--dataset", metavar="NAME", help="Only this data set; may be given again."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="FOLDER",
        help="Keep vision features there (2 GB at most): a tower sees a picture once.",
    ),
]  # fmt: skip
Html = Annotated[
    Path | None, typer.Option("--html", help="Also write a page that shows photographs.")
]
Pictures = Annotated[int, typer.Option(min=1, help="Most photographs on that page.")]


Probabilities = Annotated[
    Kind,
    typer.Option(
        help="softmax: among the classes of a data set; sigmoid: of each class by itself, for"
        " models with a logit_bias."
    ),
]


def command(
    artifact: Artifact,
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder of pictures (with --classes), or one with classes.json and img/, or a"
            " folder of such folders."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The answers: a .json or a .csv file.")
    ],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Class names for any folder of pictures: 'кошка,собака', or @FILE with one a line;"
            " may be given again.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="Answers for each image (.csv, or with --classes).")
    ] = 1,
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
    truth: Annotated[
        Path | None,
        typer.Option(help="Right answers for the page (DATA_DIR/gt.json where it exists)."),
    ] = None,
    json: Json = False,
) -> None:
    """Classify images.

    With --classes, every picture in the folder and below it: the file has names and probabilities.
    In the contest's layout a .json file is {"<data set>": {"<image id>": <class index>}} and a .csv
    file has names and probabilities too.

    Images stand in the order of DATA_DIR/gt.json (or --truth) where there is one, so that the two
    files compare line by line; else sorted by file name.

    A broken image cannot be answered: it is listed on stderr and in --json, and the others are done
    (exit code 0). The contest's file leaves it out; with names and probabilities it has its error.
    """
    from engine.cli.tables import stdout
    from engine.core.files import write_text
    from engine.core.terminal import print_json

    if not output.exists():  # one that exists may be read by this command, which is said first
        kind_of(output)
    if classes is not None:
        refuse_beside_classes({"--dataset": only, "--truth": truth})
    reads = files_of_tasks(data, truth) if classes is None else [data]
    check_files((output, html), [*files_of_artifact(artifact), *reads])
    kind = kind_of(output)
    labels = read_labels(data, truth) if classes is None else None
    datasets = open_datasets(data, only) if classes is None else [open_folder(data, classes)]
    if html:
        check_labels(datasets, labels)
    predictor = open_predictor(artifact, threads, backend, device)
    runs = run_all(
        predictor, datasets, batch_size=batch_size, workers=workers, limit=limit, cache=cache,
        probabilities=probabilities, top=max(top, TOP if html else 1),
    )  # fmt: skip
    contest = classes is None and kind == "json"
    if contest:
        write_text(output, predictions_json(runs, labels))
    else:
        from engine.evaluate.tables import answers_csv, answers_json

        write_text(output, (answers_json if kind == "json" else answers_csv)(runs, top))
    if html:
        show_gallery(html, predictor, runs, labels, pictures)
    if json:
        print_json(
            {
                "artifact": str(artifact), "name": predictor.config.name,
                "predictions": str(output), "html": str(html) if html else None,
                "images": sum(run.asked for run in runs),
                "broken": sum(len(run.broken) for run in runs),
                "warnings": predictor.warnings, "datasets": [run.to_json() for run in runs],
            }
        )  # fmt: skip
    else:
        for run in runs:
            line = f"{run.dataset.name}: {len(run.rows):,} of {run.asked:,} images answered"
            stdout().print(f"{line}, {run.asked / run.seconds:,.0f} a second")
        if cache:
            tell_of_cache(runs)
        for written in filter(None, (output, html)):
            stdout().print(f"written to {written}")
    warn(predictor, runs)


def kind_of(output: Path) -> str:
    """``csv`` or ``json``, by the ending of the file of answers.

    Raises:
        DataError: it has another ending.
    """
    from engine.errors import DataError

    ending = output.suffix.lower()
    if ending in (".csv", ".json", ""):
        return ending[1:] or "json"
    raise DataError(f"-o {output}: the answers are a .json or a .csv file, not {ending}")


def refuse_beside_classes(options: dict[str, object]) -> None:
    """Refuse what has no meaning for a folder of pictures.

    Raises:
        DataError: one of ``options`` is given.
    """
    from engine.errors import DataError

    given = [name for name, value in options.items() if value]
    if given:
        raise DataError(
            f"{', '.join(given)} has no meaning beside --classes: a folder of pictures has no"
            " data sets and no right answers"
        )


def open_folder(data: Path, classes: Sequence[str]) -> Dataset:
    """A folder of any pictures with the classes of ``--classes``."""
    from engine.cli.class_names import parse_classes
    from engine.data.picture_folder import PictureFolder

    return PictureFolder(data, parse_classes(classes))


def open_datasets(data: Path, only: Sequence[str] | None) -> list[Dataset]:
    """The contest's data sets under a folder.

    Raises:
        DataError: there is none, or ``only`` names one that is not there.
    """
    from engine.core.foreign import clean_name
    from engine.core.registry import default_registry
    from engine.data.contest import find_zero_shot_folders
    from engine.data.formats import ZERO_SHOT
    from engine.errors import DataError, did_you_mean
    from engine.printable import listed

    folders = {clean_name(folder.resolve().name): folder for folder in find_zero_shot_folders(data)}
    for name in only or ():
        if name not in folders:
            raise DataError(
                f"{data} holds no data set `{name}`{did_you_mean(name, folders)}",
                hint=f"it holds: {listed(folders)}",
            )
    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(ZERO_SHOT))
    settings, dataset = plugin.load_settings(), plugin.load()
    return [
        dataset(settings.model_validate({"path": folder}))
        for name, folder in folders.items()
        if not only or name in only
    ]


def read_labels(data: Path, truth: Path | None) -> Labels | None:
    """The right answers: the file named, else ``DATA_DIR/gt.json``, else ``None``."""
    from engine.data.contest import read_truth

    beside = data / "gt.json"
    if truth is None and beside.is_file():
        truth = beside
    return None if truth is None else read_truth(truth)


def check_labels(datasets: Sequence[Dataset], labels: Labels | None) -> None:
    """Refuse right answers that name a class which their data set does not have.

    Raises:
        DataError: names the data set, the image and the class.
    """
    from engine.errors import DataError

    for dataset in datasets:
        for image, label in (labels or {}).get(dataset.name, {}).items():
            if label >= len(dataset.classes):
                raise DataError(
                    f"the truth says that image `{image}` of data set `{dataset.name}` shows class"
                    f" {label}, but there are {len(dataset.classes)} classes, numbered from 0",
                    hint="class names and right answers must be of the same data",
                )


def open_predictor(
    artifact: Path, threads: int | None, backend: BackendName | None = None, device: str = "cpu"
) -> Predictor:
    """Read a model, every byte checked; ``threads`` limits its arithmetic.

    Raises:
        DataError: there is no such device here, or the backend does not compute there.
    """
    import torch

    from engine.cli.progress import working
    from engine.core.devices import find_device, keep_freed_memory
    from engine.evaluate.loading import load

    target = find_device(device)  # before an artifact of gigabytes is read
    keep_freed_memory()

    if threads is not None:
        torch.set_num_threads(threads)
    with working(f"reading {artifact}") as progress:
        return load(artifact, device=target, backend=backend, progress=progress)


def run_all(
    predictor: Predictor,
    datasets: Sequence[Dataset],
    *,
    batch_size: int,
    workers: int | None,
    limit: int | None,
    cache: Path | None = None,
    probabilities: Kind = "softmax",
    top: int = TOP,
) -> list[DatasetRun]:
    """Run over data sets with a progress bar on stderr; ``cache``: a folder of vision features."""
    from engine.cli.progress import counting
    from engine.evaluate.features import FeatureCache
    from engine.evaluate.runner import run

    features = FeatureCache(cache) if cache else None
    with features or contextlib.nullcontext(), counting() as progress:
        runs = []
        for dataset in datasets:
            runs.append(
                run(predictor, dataset, batch_size=batch_size, workers=workers, limit=limit,
                    features=features, probabilities=probabilities, top=top, progress=progress)
            )  # fmt: skip
    return runs


def predictions_json(runs: Sequence[DatasetRun], labels: Labels | None) -> str:
    """The contest's file; data sets and images in the order of ``labels``, the others behind."""
    import json

    found = {run.dataset.name: run.predictions for run in runs}
    answers = {
        name: _in_order(found[name], (labels or {}).get(name, {}))
        for name in _in_order(found, labels or {})
    }
    return json.dumps(answers, ensure_ascii=False, indent=1) + "\n"


def _in_order(found: dict[str, T], order: Iterable[str]) -> dict[str, T]:
    """``found`` with the keys of ``order`` first, in that order."""
    return {key: found[key] for key in dict.fromkeys((*order, *found)) if key in found}


def show_gallery(
    path: Path,
    predictor: Predictor,
    runs: Sequence[DatasetRun],
    labels: Labels | None,
    pictures: int,
    score: Score | None = None,
) -> None:
    """Write the page; ``pictures`` are shared among the data sets."""
    from engine.evaluate.gallery import header_of, section_of, write_gallery
    from engine.evaluate.runner import score_runs

    each = max(1, pictures // len(runs))
    sections = [section_of(run, labels, each) for run in runs]
    write_gallery(path, header_of(predictor), sections, score or score_runs(runs, labels))


def tell_of_cache(runs: Sequence[DatasetRun]) -> None:
    """How many images a cache spared the vision tower."""
    from engine.cli.tables import stdout

    images, ran = sum(len(run.rows) for run in runs), sum(run.tower_rows for run in runs)
    stdout().print(
        f"{ran:,} of {images:,} images ran through the vision tower, the features of the others"
        " were kept", soft_wrap=True,
    )  # fmt: skip


def warn(predictor: Predictor, runs: Sequence[DatasetRun]) -> None:
    """Tell loudly what a result must not be read without: random weights, broken images."""
    from engine.cli.tables import print_warning

    for text in (*predictor.warnings, *(note for run in runs for note in run.notes)):
        print_warning(text)
    for run in runs:
        if run.broken:
            shown = [f"  {each.id}: {each.reason}" for each in run.broken[:20]]
            if len(run.broken) > len(shown):
                shown.append(f"  and {len(run.broken) - len(shown)} more (all in --json)")
            print_warning(
                f"{run.dataset.name}: {len(run.broken)} broken images have no answer:\n"
                + "\n".join(shown)
            )

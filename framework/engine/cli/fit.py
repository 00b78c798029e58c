"""``engine fit``: the best model under a limit; ``engine trim``: the lossless steps alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.inputs import check_files, check_folder, files_of_artifact
from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.compress.answer import FittedModel
    from engine.compress.choosing import Scorer
    from engine.compress.planning import Planned
    from engine.compress.steps import PlannedStep
    from engine.contracts.dataset import Dataset
    from engine.contracts.tokenizer import Tokenizer
    from engine.core.build import Built
    from engine.core.config.schema import EngineConfig

_MAX_TEXT_BYTES = 64 << 20
_PICTURES = 64
_MAX_ROWS = 2000

Model = Annotated[Path, typer.Argument(help="An artifact, or a config (a YAML file).")]
Texts = Annotated[
    Path | None, typer.Option(help="Calibration texts, one a line: as the model will be asked.")
]
Languages = Annotated[
    str | None,
    typer.Option(
        help="Languages or scripts that the vocabulary must be able to spell: ru,en. By default the"
        " scripts of the texts."
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="The artifact to write.")]


def fit(
    model: Model,
    limit: Annotated[str, typer.Option(help="Most bytes of the weights: 25MB.")],
    texts: Texts = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data sets as for `engine predict`: its pictures are calibration too."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The right answers (DATA/gt.json where it exists): decide by accuracy."),
    ] = None,
    languages: Languages = None,
    output: Output = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page: bytes against quality, every tensor.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show the candidate steps with bytes.")
    ] = False,
    budget: Annotated[
        float, typer.Option(min=1, help="Seconds of a core for measuring, by counted operations.")
    ] = 300.0,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Some hundred steps of distillation from the original repair the loss, where they"
            " can. Where no storages meet the limit, a smaller text encoder learns from it.",
        ),
    ] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Make a model as good as possible under a limit on the bytes of its weights.

    Lossless steps come first. Then each tensor gets a storage, chosen by the loss that it has on
    the calibration texts and pictures. What is chosen is measured as a whole. Exit code 1: the
    limit cannot be met.
    """
    from engine.cli.size import parse_limit
    from engine.core.model_path import model_folder
    from engine.errors import DataError

    most = parse_limit("--limit", limit)
    assert most is not None
    named = [one.strip() for one in (languages or "").split(",") if one.strip()]
    lines = read_texts(texts) if texts else []
    model = model_folder(model)
    config, is_artifact = read_config(model, overrides or ())
    reads = [texts, truth, *(files_of_artifact(model) if is_artifact else [model])]
    if plan:
        check_files((html,), reads)
        from engine.compress.planning import plan_fit

        found = plan_fit(config, _tokenizer(model, config, is_artifact), texts=lines,
                         languages=named)  # fmt: skip
        show_plan(found, most, as_json=json)
        raise typer.Exit(0 if found.smallest <= most else 1)
    if output is None:
        raise DataError("nowhere to write to", hint="name the artifact to write: -o build/fitted")
    check_folder(output, [path for path in reads if path is not None])
    check_files((html,), reads)
    from engine.core import artifact

    artifact.check_replaceable(output)
    built = _built(model, config, is_artifact)
    datasets, labels = _open(data, truth)
    if not lines:
        lines = _default_texts(built, datasets)
    fitted = _fitted(
        built, most, lines, datasets, labels, named, budget, train,
        state=output.with_name(f".{output.name}.fit.json"), html=html, output=output,
        inputs=[f"{texts}: {len(lines):,} texts" if texts else f"{len(lines):,} texts",
                *([] if data is None else [str(data)])],
    )  # fmt: skip
    show_fit(fitted, most, output, as_json=json)


def trim(
    model: Annotated[Path, typer.Argument(help="The artifact.")],
    languages: Languages = None,
    texts: Texts = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Leave out what no text of some languages can need: unused tokens, unused positions.

    Answers stay the same, bit for bit, for every text of these languages; this is checked before
    anything is written.
    """
    from engine.errors import DataError

    named = [one.strip() for one in (languages or "").split(",") if one.strip()]
    if not named and texts is None:
        raise DataError("nothing says what must stay", hint="name languages: --languages ru,en")
    if output is None:
        raise DataError("nowhere to write to", hint="name the artifact to write: -o build/trimmed")
    check_folder(output, [*files_of_artifact(model), texts])
    lines = read_texts(texts) if texts else []
    from engine.core import artifact

    artifact.check_replaceable(output)
    from engine.cli.progress import working
    from engine.clusters.building import read_clustered
    from engine.compress.trim import trim as trimmed
    from engine.core.build import save

    with working(f"trimming {model}"):
        done = trimmed(read_clustered(model), languages=named, texts=lines)
        save(done.built, output)
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json

    if json:
        print_json(
            {"name": done.built.config.name, "bytes_before": done.before,
             "bytes": done.size.total, "steps": [one.to_json() for one in done.steps],
             "checked": done.checked, "notes": done.notes, "artifact": str(output)}
        )  # fmt: skip
        return
    _show_steps(done.steps)
    stdout().print(f"{done.before:,} bytes of weights became {done.size.total:,}")
    if done.checked:
        stdout().print(
            f"checked: the embeddings of {done.checked:,} texts are the same, bit for bit"
        )
    for note in done.notes:
        print_warning(note)
    stdout().print(f"written to {output}")


def read_texts(path: Path) -> list[str]:
    """The lines of a file that are not empty, each once.

    Raises:
        DataError: it cannot be read, is not UTF-8, or has no text.
    """
    from engine.errors import DataError

    try:
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT_BYTES + 1)
        if len(content) > _MAX_TEXT_BYTES:
            raise DataError(f"{path} has more than {_MAX_TEXT_BYTES:,} bytes",
                            hint="some thousand texts are enough")  # fmt: skip
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise DataError(f"{path} has no text: the calibration set would be empty",
                        hint="give one text a line, some hundreds of real ones")  # fmt: skip
    return found


def read_config(model: Path, overrides: Sequence[str]) -> tuple[EngineConfig, bool]:
    """The config of an artifact or a file, and whether it is an artifact's. Imports no torch."""
    from engine.core import artifact
    from engine.core.config import load_config
    from engine.errors import DataError

    if not model.is_dir():
        return load_config(model, overrides), False
    if overrides:
        raise DataError("--set changes configs, and this is an artifact")
    artifact.read_manifest(model, verify=False)
    return load_config(model / artifact.CONFIG), True


def _tokenizer(model: Path, config: EngineConfig, is_artifact: bool) -> Tokenizer | None:
    from engine.compress.steps import tokenizer_of
    from engine.core import artifact

    if not is_artifact:
        return tokenizer_of(config)
    use = config.model.text.settings.tokenizer
    return use.target().from_bytes(use.settings, (model / artifact.TOKENIZER).read_bytes())


def _built(model: Path, config: EngineConfig, is_artifact: bool) -> Built:
    from engine.cli.progress import working
    from engine.clusters.building import build_clustered, read_clustered
    from engine.compress.steps import without_limit

    with working(f"reading {model}") as progress:
        return read_clustered(model) if is_artifact else build_clustered(
            without_limit(config), progress)  # fmt: skip


def _open(data: Path | None, truth: Path | None) -> tuple[list[Any], Any]:
    from engine.cli.predict import check_labels, open_datasets, read_labels
    from engine.errors import DataError

    if data is None:
        if truth is not None:
            raise DataError("--truth has no use without --data")
        return [], None
    datasets = open_datasets(data, None)
    labels = read_labels(data, truth)
    check_labels(datasets, labels)
    return datasets, labels


def _default_texts(built: Built, datasets: Sequence[Any]) -> list[str]:
    """The class names of the data sets, else texts of the config's training data."""
    from engine.errors import DataError, EngineError

    found = [name for dataset in datasets for name in dataset.classes]
    train = built.config.data.train
    if not found and train is not None:
        try:
            found = _training_texts(train.create(), built.config)
        except EngineError as error:
            raise DataError(
                f"there are no calibration texts: the training data of the config cannot be read"
                f" ({error.message})",
                hint="give a file with one text a line: --texts FILE",
            ) from error
    if not found:
        raise DataError("there are no calibration texts",
                        hint="give a file with one text a line: --texts FILE")  # fmt: skip
    return list(dict.fromkeys(found))


def _training_texts(dataset: Dataset, config: EngineConfig) -> list[str]:
    """Texts of evenly spaced rows, in the languages that the text encoder is trained on."""
    from engine.prepare.chunks import texts_of

    languages = () if config.train is None else config.train.languages
    count = min(len(dataset), _MAX_ROWS)
    rows = (number * len(dataset) // count for number in range(count))
    return [text for row in rows for text in texts_of(dataset, dataset.record(row), languages)]


def _fitted(
    built: Built, limit: int, lines: list[str], datasets: list[Any], labels: Any,
    languages: list[str], budget: float, train: bool, *, state: Path, html: Path | None,
    output: Path, inputs: list[str],
) -> FittedModel:  # fmt: skip
    from engine.cli.progress import sharing
    from engine.compress.fit import fit as fitting
    from engine.compress.labelled import pictures_of, scorer_of
    from engine.compress.repair import repair, score_again, targets_of
    from engine.compress.report import page_of
    from engine.core.build import save
    from engine.core.files import write_text

    scorer: Scorer | None = scorer_of(datasets, labels) if labels else None
    pictures = pictures_of(built, datasets, _PICTURES)
    try:
        with sharing() as progress:
            targets = targets_of(built, lines, pictures) if train else None
            original = scorer(built) if train and scorer else None
            fitted = fitting(
                built, limit, texts=lines, pictures=pictures, languages=languages, scorer=scorer,
                targets=targets, budget=budget, state=state, progress=progress,
            )  # fmt: skip
            if targets is not None and fitted.candidates:
                repair(fitted, targets, progress=progress)
                if scorer is not None and original is not None:
                    score_again(fitted, scorer, original)
            if labels:
                fitted.chance = sum(100 / len(each.classes) for each in datasets) / len(datasets)
            progress("writing")
            limits = fitted.built.config.limits.model_copy(update={"weights": limit})
            fitted.built.config = fitted.built.config.model_copy(update={"limits": limits})
            save(fitted.built, output)
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("what was measured is kept; the same command goes on from there")
        raise
    if html is not None:
        write_text(html, page_of(fitted, limit, inputs))
    return fitted


def show_plan(found: Planned, limit: int, *, as_json: bool) -> None:
    """Print the candidate steps with their bytes."""
    from rich.table import Table
    from rich.text import Text

    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json(found.to_json(limit))
        return
    _show_steps(found.steps)
    table = Table(title="every tensor in one storage", title_justify="left")
    table.add_column("storage")
    table.add_column("bytes", justify="right")
    table.add_column("under the limit")
    for name, size in found.storages.items():
        table.add_row(name, f"{size:,}", "yes" if size <= limit else "")
    stdout().print(table)
    stdout().print(
        f"now {found.before:,} bytes, after these steps {found.after_steps:,}, smallest"
        f" {found.smallest:,}; the limit is {limit:,}"
    )
    for one, least in found.trained:
        stdout().print(Text(f"with --train: {one.step.summary}: {one.saved:,} bytes less, then"
                            f" smallest {least:,}"))  # fmt: skip
    for note in found.notes:
        print_warning(note)
    if found.smallest > limit:
        print_warning(f"the limit cannot be met: the smallest is {found.smallest:,} bytes")


def show_fit(fitted: FittedModel, limit: int, output: Path, *, as_json: bool) -> None:
    """Print the answer."""
    from rich.table import Table
    from rich.text import Text

    from engine.cli.tables import print_warning, stdout
    from engine.compress import report
    from engine.core.terminal import print_json

    if as_json:
        print_json({**report.to_json(fitted, limit), "artifact": str(output)})
        return
    _show_steps(fitted.steps)
    if fitted.candidates:
        table = Table(title="measured as a whole, the first was chosen", title_justify="left")
        for head in report.candidate_heads(fitted):
            table.add_column(head, justify="right")
        for row in report.candidate_rows(fitted):
            table.add_row(*row)
        stdout().print(table)
        kinds: dict[str, list[int]] = {}
        for _, storage, size, _ in report.tensor_rows(fitted):
            kinds.setdefault(storage, []).append(int(size.replace(",", "")))
        table = Table(title="storages", title_justify="left")
        for head in ("storage", "tensors", "bytes"):
            table.add_column(head, justify="left" if head == "storage" else "right")
        for storage, sizes in sorted(kinds.items(), key=lambda pair: -sum(pair[1])):
            table.add_row(Text(storage), str(len(sizes)), f"{sum(sizes):,}")
        stdout().print(table)
    stdout().print(
        f"{fitted.original:,} bytes became {fitted.size.total:,}, under the limit of {limit:,}"
    )
    stdout().print(report.cost(fitted))
    for note in fitted.notes:
        print_warning(note)
    stdout().print(f"written to {output}")


def _show_steps(steps: Sequence[PlannedStep]) -> None:
    from rich.text import Text

    from engine.cli.tables import stdout

    for one in steps:
        stdout().print(Text(f"{one.step.summary}: {one.saved:,} bytes less; {one.answers}"))

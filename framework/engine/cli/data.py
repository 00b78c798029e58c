"""``engine data``: commands about data."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli import data_filter, data_prepare, data_text
from engine.cli import download as download_commands
from engine.cli.options import Json
from engine.cli.progress import tracking

if TYPE_CHECKING:
    from engine.contracts.hooks import Plugin
    from engine.contracts.settings import Settings
    from engine.data.make import Layout, Written

app = typer.Typer(
    help="Training data: make, download, clean, look at.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("download", short_help="Download a click log's images; goes on after a stop.")(
    download_commands.download
)
app.command("verify", short_help="Look at every row and image of a download.")(
    download_commands.verify
)
app.command("clean", short_help="Clean the texts into a new table, with a report.")(data_text.clean)
app.command("stats", short_help="Understand the texts: lengths, n-grams, scripts.")(data_text.stats)
app.command("show", short_help="A contact sheet of random images with their texts.")(data_text.show)
app.command("prepare", short_help="Compute once what training needs of its data.")(
    data_prepare.command
)
app.command("filter", short_help="Drop pairs whose text does not match the picture.")(
    data_filter.command
)


@app.command("make", short_help="Write a drawn or packaged data set to disk.")
def make(
    name: Annotated[
        str,
        typer.Argument(
            help="shapes, digits, emoji, or any other dataset plugin with a train and a test split."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="Training images (default: the plugin's own).")
    ] = None,
    test_count: Annotated[
        int | None, typer.Option(min=1, help="Test images (default: the plugin's own).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of every random choice.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the plugin: --set size=64"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what this command wrote there before.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a data set in the contest's layout: OUT/train to learn from, OUT/test to evaluate."""
    from engine.core.registry import default_registry
    from engine.core.terminal import print_json
    from engine.data.make import write_contest_layout
    from engine.errors import DataError

    plugin = default_registry().get("dataset", name)
    if "split" not in plugin.load_settings().model_fields:
        raise DataError(
            f"dataset `{name}` has no setting `split`, so there is nothing to make of it",
            hint="`engine data make` needs a dataset with a train and a test split: "
            + ", ".join(_makeable()),
        )
    values = _values(overrides or [])
    if seed is not None:
        values["seed"] = seed
    splits = {
        split: _validate(plugin, {**values, "split": split}, number)
        for split, number in (("train", count), ("test", test_count))
        if split in _splits(plugin)
    }
    dataset = plugin.load()
    layout = write_contest_layout(
        out,
        dataset(splits["train"]) if "train" in splits else None,
        [dataset(splits["test"])],
        about={
            "dataset": name,
            "settings": {split: s.model_dump(mode="json") for split, s in splits.items()},
        },
        force=force,
        track=tracking,
    )
    if json:
        print_json(_report(name, out, layout))
    else:
        _explain(name, out, layout)


def _splits(plugin: Plugin) -> set[str]:
    """The splits that a dataset plugin has; some are there to be evaluated on alone."""
    from typing import get_args

    named = get_args(plugin.load_settings().model_fields["split"].annotation)
    return set(named) or {"train", "test"}


def _makeable() -> list[str]:
    """The dataset plugins with splits."""
    from engine.core.registry import default_registry
    from engine.errors import PluginError

    names = []
    for registered in default_registry().all("dataset"):
        try:
            if "split" in registered.plugin.load_settings().model_fields:
                names.append(registered.plugin.name)
        except PluginError:  # a broken third party's; `engine plugins` tells
            continue
    return names


def _values(overrides: list[str]) -> dict[str, Any]:
    """``["size=64"]`` -> ``{"size": 64}``; values are YAML."""
    import yaml

    from engine.errors import ConfigError

    values: dict[str, Any] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {item}: expected KEY=VALUE")
        if key == "split":
            raise ConfigError(f"--set {item}: both splits are written, train and test")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {item}: the value is not YAML: {error}") from error
    return values


def _validate(plugin: Plugin, values: dict[str, Any], count: int | None) -> Settings:
    from pydantic import ValidationError

    from engine.core.registry import default_registry
    from engine.errors import ConfigError, did_you_mean

    settings = plugin.load_settings()
    if count is not None:
        values = {**values, "count": count}
    try:
        return settings.model_validate(values, context={"registry": default_registry()})
    except ValidationError as error:
        known = [key for key in settings.model_fields if key != "split"]
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            unknown = problem["type"] == "extra_forbidden"
            reason = f"no such setting{did_you_mean(key, known)}" if unknown else problem["msg"]
            lines.append(f"  {key}: {reason}")
        raise ConfigError(
            f"dataset `{plugin.name}` cannot be set up so:\n" + "\n".join(lines),
            hint=f"its settings are: {', '.join(known)}",
        ) from error


def _report(name: str, out: Path, layout: Layout) -> dict[str, Any]:
    def counts(written: Written, texts: str) -> dict[str, Any]:
        return {
            "name": written.name,
            "images": written.images,
            texts: written.texts,
            "broken": list(written.broken),
            "without_text": list(written.without_text),
        }

    return {
        "dataset": name,
        "out": str(out),
        "train": None if layout.train is None else counts(layout.train, "queries"),
        "tests": [counts(test, "classes") for test in layout.tests],
    }


def _explain(name: str, out: Path, layout: Layout) -> None:
    from engine.cli.tables import print_warning
    from engine.core.registry import default_registry
    from engine.data.formats import CLICK_LOG, ZERO_SHOT

    registry = default_registry()
    train, test = layout.train, layout.tests[0]
    for written in (*([] if train is None else [train]), *layout.tests):
        for what, ids in (("broken", written.broken), ("without text", written.without_text)):
            if ids:
                listed = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
                print_warning(f"{written.name}: {len(ids)} images left out, {what}: {listed}")
    folder, truth = _quoted(out / "test" / test.name), _quoted(out / "test" / "gt.json")
    images = taught = ""
    if train is not None:
        images = f"{train.images:,} training images with {train.texts:,} queries, "
        taught = (
            f"    train: {{use: {registry.reader(CLICK_LOG)}, path: {_quoted(out / 'train')}}}\n"
        )
    typer.echo(
        f"{name}: {images}{test.images:,} test images of {test.texts:,} classes, in {out}\n"
        "\n"
        "In a config:\n"
        "  data:\n"
        f"{taught}"
        "    evaluate:\n"
        f"      - {{use: {registry.reader(ZERO_SHOT)}, path: {folder}, truth: {truth}}}\n"
        "\n"
        f"Or evaluate a built model on it: engine eval MODEL {out / 'test'}"
    )


def _quoted(path: Path) -> str:
    """A path as YAML (and JSON) writes it."""
    return jsonlib.dumps(str(path), ensure_ascii=False)

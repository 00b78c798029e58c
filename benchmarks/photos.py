"""Photographs by Russian names, from texts alone: `configs/photos.yaml`, its seeds and its parts.

Every entry is trained by `engine train` in a process of its own and classifies the contest's
photographs (`../shared/data/contest_sample`, caltech101: 570 photographs, 19 Russian names).

- seeds: the config as it is, several times;
- parts of the lexicon: CLDR alone, dictionaries alone, the package emoji alone;
- size of the student: half the table, a quarter;
- the map: names instead of definitions, fewer dimensions, other kernels. These take the trained
  text encoder of the first seed and fit the projections again.

What a teacher gave is kept in build/teachers for all runs, a finished training in --work.

By class, and by whether ImageNet has the class (the lexicon's translations of the name, against the
names of the classes of the head). Nothing is chosen by these photographs.

`--fit` brings each seed's model below 10 MB with `engine fit` and answers the photographs once more
(photos_fit.py). `--only seeds` leaves the ablations out. All of it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, engine_command
from numpy.typing import NDArray
from photos_fit import LIMIT, difference, fitted
from rich.console import Console
from rich.table import Table

from engine.bench.contamination import known_names
from engine.contracts.intervals import wilson
from engine.core.build import build, read_artifact, save
from engine.core.config import load_config
from engine.core.registry import default_registry

CONFIG = ROOT / "configs" / "photos.yaml"
DATA = ROOT.parent / "shared" / "data" / "contest_sample"
BASELINE = 74.2
"""What the organisers' baseline has on the same photographs, in percent."""

LEXICONS = {
    "CLDR alone": ["data.train.dictionaries=[]"],
    "dictionaries alone": ["data.train.cldr=null"],
    "the package emoji alone": ["data.train.cldr=null", "data.train.dictionaries=[]"],
}
STUDENTS = {
    "32,768 buckets": ["model.text.vocab_size=32768"],
    "16,384 buckets, 64 wide": ["model.text.vocab_size=16384", "model.text.width=64"],
}
_OF, _TEXT = "model.projection.vision.of.texts", "model.projection.text"
MAPS = {
    "names alone": [f"{_OF}=names", f"{_TEXT}.of.texts=names"],
    "definitions alone": [f"{_OF}=definitions", f"{_TEXT}.of.texts=definitions"],
    "256 dimensions": ["model.embed_dim=256"],
    "900 dimensions": ["model.embed_dim=900"],
    "gamma 2": [f"{_TEXT}.gamma=2"],
    "gamma 8": [f"{_TEXT}.gamma=8"],
    "ridge 1": [f"{_TEXT}.ridge=1"],
}


def train(name: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train one entry, unless its run is there; its bytes, CPU seconds and folder."""
    run, cache = folder / file_name(name), ROOT / "build" / "teachers"
    figures = run / "figures.json"
    if figures.is_file():
        return json.loads(figures.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [engine_command(), "train", str(CONFIG), "-o", str(run), "--json", "--force"]
    for override in [*overrides, f"train.cache.folder={cache}", "train.threads=1"]:
        command += ["--set", override]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"model": str(run / "model"), "bytes": json.loads(done.stdout)["bytes"], "cpu": cpu}
    figures.write_text(json.dumps(found), encoding="utf-8")
    return found


def file_name(name: str) -> str:
    """Of an entry."""
    return name.replace(" ", "_").replace(",", "")


def refit(overrides: list[str], model: Path, folder: Path) -> Path:
    """The projections of another config around a trained text encoder."""
    settings = load_config(CONFIG, [*overrides, "data.train=null", "train=null"])
    built, trained = build(settings), read_artifact(model)
    built.model.text.load_state_dict(trained.model.text.state_dict())
    save(built, folder)
    return folder


class Photographs:
    """The photographs, through the vision tower once."""

    def __init__(self, model: Path) -> None:
        from engine.evaluate import load
        from engine.evaluate.features import FeatureCache

        registry = default_registry()
        plugin = registry.get("dataset", "zero_shot_folder")
        values = {"path": str(DATA / "caltech101"), "truth": str(DATA / "gt.json")}
        self.dataset = plugin.load()(plugin.load_settings().model_validate(values))
        self.labels = np.array([self.dataset.record(i).label for i in range(len(self.dataset))])
        self._load, self._features = load, FeatureCache(model.parent / "features", 10**9)

    def answers(self, model: Path) -> NDArray[np.int64]:
        """The answer to each photograph."""
        from engine.evaluate.runner import run

        found = run(self._load(model), self.dataset, features=self._features)
        return np.array([row.classes[0] for row in found.rows])


def percent(right: NDArray[np.bool_]) -> float:
    """The share in percent."""
    return 100 * float(right.mean())


def main() -> None:
    """Train, classify, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ablation-seeds", type=int, default=2, help="of each ablation (2)")
    parser.add_argument("--fit", action="store_true", help="also below 10 MB with `engine fit`")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "photos")
    parser.add_argument("--only", choices=["seeds"], help="leave the ablations out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"benchmark: {DATA} is missing")
    options.work.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=options.json)
    seeds = [train(f"seed {n}", [f"seed={n}"], options.work) for n in range(options.seeds)]
    first = Path(seeds[0]["model"])
    photographs = Photographs(first)
    right = [photographs.answers(Path(one["model"])) == photographs.labels for one in seeds]
    scores = [percent(one) for one in right]
    figures: dict[str, Any] = {
        "accuracy": statistics.mean(scores), "accuracy_by_seed": scores, "baseline": BASELINE,
        "interval": list(wilson(int(right[0].sum()), len(right[0]))),
        "bytes": seeds[0]["bytes"], "cpu_seconds": [round(one["cpu"]) for one in seeds],
        **by_class(photographs, right, first),
    }  # fmt: skip
    if options.fit:
        figures["fit"] = fit_all(photographs, [Path(one["model"]) for one in seeds], right)
    if options.only is None:
        models = [Path(one["model"]) for one in seeds][: options.ablation_seeds]
        figures["ablations"] = ablations(photographs, models, options.work)
    show(console, figures)
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))


def by_class(
    photographs: Photographs, right: list[NDArray[np.bool_]], model: Path
) -> dict[str, Any]:
    """The mean over seeds of each class, and of those that ImageNet has and has not."""
    mean = np.mean(right, axis=0)
    classes = photographs.dataset.classes
    known = known_names(read_artifact(model).config, classes)
    rows = {
        name: {
            "accuracy": 100 * float(mean[photographs.labels == number].mean()),
            "in_imagenet": name in known.classifier, "in_lexicon": name in known.texts,
        }
        for number, name in enumerate(classes)
    }  # fmt: skip
    inside = np.array([rows[classes[label]]["in_imagenet"] for label in photographs.labels])
    return {
        "classes": rows,
        "in_imagenet": 100 * float(mean[inside].mean()),
        "not_in_imagenet": 100 * float(mean[~inside].mean()),
    }


def fit_all(
    photographs: Photographs, models: list[Path], before: list[NDArray[np.bool_]]
) -> dict[str, Any]:
    """Every model below the limit: bytes, accuracy, and the difference with its interval."""
    found = [fitted(model, model.parent) for model in models]
    after = [photographs.answers(Path(one["model"])) == photographs.labels for one in found]
    return {
        "limit": LIMIT, "bytes": [one["bytes"] for one in found],
        "cpu_seconds": [round(one["cpu"]) for one in found],
        "accuracy_by_seed": [percent(one) for one in after],
        "accuracy": statistics.mean(percent(one) for one in after),
        **difference(np.stack(after), np.stack(before)),
    }  # fmt: skip


def ablations(photographs: Photographs, models: list[Path], work: Path) -> dict[str, Any]:
    """The accuracy of each by seed, in percent, in all and of ImageNet's classes and others."""
    found: dict[str, Any] = {}
    seeds = range(len(models))
    for name, overrides in {**LEXICONS, **STUDENTS}.items():
        some = [train(f"{name} {n}", [*overrides, f"seed={n}"], work) for n in seeds]
        found[name] = {
            **accuracies(photographs, [Path(one["model"]) for one in some], models[0]),
            "bytes": some[0]["bytes"], "cpu_seconds": [round(one["cpu"]) for one in some],
        }  # fmt: skip
    for name, overrides in MAPS.items():
        folders = [work / "maps" / f"{file_name(name)}_{n}" for n in seeds]
        some_maps = [
            folder if folder.is_dir() else refit(overrides, model, folder)
            for folder, model in zip(folders, models, strict=True)
        ]
        found[name] = accuracies(photographs, some_maps, models[0])
    return found


def accuracies(photographs: Photographs, models: list[Path], known: Path) -> dict[str, Any]:
    """Of some models, by seed, and the means of those classes that ImageNet has and has not."""
    right = [photographs.answers(model) == photographs.labels for model in models]
    scores = [percent(one) for one in right]
    rows = by_class(photographs, right, known)
    return {"accuracy": statistics.mean(scores), "accuracy_by_seed": scores,
            **{key: rows[key] for key in ("in_imagenet", "not_in_imagenet")}}  # fmt: skip


def show(console: Console, figures: Mapping[str, Any]) -> None:
    """Tables for people."""
    low, high = figures["interval"]
    console.print(
        f"{figures['accuracy']:.1f} % (seeds:"
        f" {', '.join(f'{one:.1f}' for one in figures['accuracy_by_seed'])}; 95 % interval"
        f" of the first {low:.1f} to {high:.1f}), organisers {BASELINE} %,"
        f" {figures['bytes'] / 1e6:.1f} MB, CPU seconds {figures['cpu_seconds']}"
    )
    table = Table("class", "accuracy, %", "in ImageNet", "in the lexicon")
    for name, row in figures["classes"].items():
        table.add_row(name, f"{row['accuracy']:.1f}", *(
            "yes" if row[key] else "no" for key in ("in_imagenet", "in_lexicon")))  # fmt: skip
    console.print(table)
    console.print(f"classes of ImageNet {figures['in_imagenet']:.1f} %, others"
                  f" {figures['not_in_imagenet']:.1f} %")  # fmt: skip
    if "fit" in figures:
        fit = figures["fit"]
        low, high = fit["interval"]
        console.print(
            f"below {fit['limit']} ({', '.join(f'{n:,}' for n in fit['bytes'])} bytes):"
            f" {fit['accuracy']:.1f} %, {fit['difference']:+.2f} points (95 % {low:+.2f} to"
            f" {high:+.2f}), {fit['changed']} answers changed; CPU seconds {fit['cpu_seconds']}"
        )
    if "ablations" in figures:
        table = Table("instead", "accuracy, %", "by seed", "in ImageNet", "others", "MB")
        for name, row in figures["ablations"].items():
            size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
            table.add_row(
                name, f"{row['accuracy']:.1f}",
                ", ".join(f"{one:.1f}" for one in row["accuracy_by_seed"]),
                f"{row['in_imagenet']:.1f}", f"{row['not_in_imagenet']:.1f}", size,
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    main()

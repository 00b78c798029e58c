"""The settings of clusters_help.yaml as trainings: whole Engine configs under keys."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PLACE = Path("build/clusters_help")  # from ROOT, so that keys are the same on every machine
VERSION = 2
"""Of what is measured. Raise it where the same settings would give other figures."""

Plain = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A training.

    Attributes:
        key: names the settings.
        data: the data set's name.
        seed: of weights, order and data.
        variant: what is compared; empty for the vision tower that all of them share.
        batches: how batches are made.
        config: a whole Engine config.
        base: key of the job that trains the vision tower; empty for that one itself.
        tested_on: of a vision tower: the data sets of the test.
    """

    key: str
    data: str
    seed: int
    variant: str
    batches: str
    config: Plain
    base: str = ""
    tested_on: Plain = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """``hard in_cluster``: what the comparisons name."""
        return f"{self.variant} {self.batches}"


def merged(base: Any, top: Any) -> Any:
    """``top`` over ``base`` as configs inherit: another plugin drops the old one's settings."""
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    if "use" in base and top.get("use", base["use"]) != base["use"]:
        return top
    return {**base, **{k: merged(base[k], v) if k in base else v for k, v in top.items()}}


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with every ``$name`` replaced."""
    if isinstance(value, dict):
        return {key: filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, values) for each in value]
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    return value


def composed(settings: Plain, data: str, seed: int, *parts: Plain) -> Plain:
    """A whole config: what all share, the data set, and parts of ``config:`` and ``stage:``."""
    about = settings["data"][data]
    config: Any = {"name": data, "seed": seed, "data": {"train": about["train"]}}
    config, stage = merged(settings["config"], config), {}
    for part in parts:
        config = merged(config, part.get("config", {}))
        stage = merged(stage, part.get("stage", {}))
    config = merged(config, {"train": {"stages": [stage]}})
    found: Plain = filled(config, {**about["values"], "seed": seed})
    return found


def key_of(*what: Any) -> str:
    """16 characters that name settings by their content."""
    text = json.dumps([VERSION, *what], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def base_folder(key: str) -> Path:
    """Where a vision tower and what goes with it lie."""
    return PLACE / "towers" / key


def base_job(settings: Plain, data: str, seed: int) -> Job:
    """The training of the vision tower."""
    config = composed(settings, data, seed, settings["vision_tower"])
    about = settings["data"][data]
    tested_on = filled({"test": about["test"], "seen": about["seen"]}, {"seed": seed})
    tested_on["skip"] = about.get("seen_begins_with_train", False)
    return Job(key_of(config, tested_on), data, seed, "", "", config, tested_on=tested_on)


def jobs_of(settings: Plain, base: Job, variants: Sequence[str]) -> Iterator[Job]:
    """The trainings of a data set and seed, all of whose vision towers are the same."""
    model = base_folder(base.key) / "model"
    tower = {
        "config": {
            "model": {"vision": {"weights": {"from": f"artifact:{model}"}}},
            "train": {"cache": {"folder": str(base_folder(base.key) / "cache")}},
        }
    }
    for batches, how in settings["batches"].items():
        for variant in variants:
            parts = [settings["text_tower"], settings["variants"][variant], how, tower]
            config = composed(settings, base.data, base.seed, *parts)
            key = key_of(base.key, config)
            yield Job(key, base.data, base.seed, variant, batches, config, base.key)


def check_sizes(settings: Plain, jobs: Sequence[Job]) -> dict[str, int]:
    """Numbers of each arm's text projection by ``<data> <variant>``; equal ones must be equal."""
    from engine.core.size import config_size

    found: dict[str, int] = {}
    for job in jobs:
        name = f"{job.data} {job.variant}"
        if name not in found:
            parts = {part.name: part for part in config_size(loaded(job)).parts}
            projection = parts["text_projection"]
            found[name] = projection.num_parameters + projection.num_buffers
    equal = {variant for variant, about in settings["variants"].items() if about.get("equal_size")}
    for data in {job.data for job in jobs}:
        sizes = [n for name, n in found.items() if name in {f"{data} {v}" for v in equal}]
        if sizes and max(sizes) > (1 + settings["tolerance"]) * min(sizes):
            sys.exit(f"{data}: text projections of equal size were asked for: {found}")
    return found


def loaded(job: Job) -> Any:
    """The job's settings as Engine reads them."""
    from engine.core.config import load_config

    path = PLACE / "configs" / f"{job.key}.{os.getpid()}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(yaml.safe_dump(job.config, allow_unicode=True, sort_keys=False))
        return load_config(path)
    finally:
        path.unlink(missing_ok=True)


def dataset_of(plain: Plain) -> Any:
    """A data set as a config names it."""
    from pydantic import TypeAdapter

    from engine.contracts.refs import DatasetRef
    from engine.core.registry import default_registry

    adapter: TypeAdapter[Any] = TypeAdapter(DatasetRef)
    return adapter.validate_python(plain, context={"registry": default_registry()}).create()

"""From a suite to jobs: every entry under every seed, its key, and where its files lie.

::

    OUT/results/ENTRY.SEED.KEY.json       a result
    OUT/results/ENTRY.SEED.KEY.answers.json
    OUT/results/ENTRY.SEED.KEY.speed.json, .contest.json
    OUT/models/ENTRY.SEED.KEY/model/      the trained model, an artifact
    OUT/logs/                             what each process said
    OUT/features/                         vision features, shared by all
    OUT/code/                             records of the code that results follow from
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bench.code import packages_of, why_model_stale, why_stale
from engine.bench.datasets import EvaluatedDataset
from engine.bench.fingerprints import Counted, Prints
from engine.bench.job import Job
from engine.bench.keys import digest, machine
from engine.bench.results import (
    Contest,
    EntryAnswers,
    Failure,
    Provenance,
    Result,
    Speed,
    read_fact,
)
from engine.bench.suite import EntrySettings, SuiteSettings
from engine.core.artifact import CONFIG, read_manifest, sha256
from engine.core.config import dump_config, load_config
from engine.core.config.schema import EngineConfig
from engine.core.files import write_text
from engine.core.model_path import model_folder
from engine.core.named_files import files_digest
from engine.core.registry import Registry, default_registry
from engine.errors import EngineError
from engine.exchange import exported


@dataclass(frozen=True)
class Task:
    """An entry under a seed.

    Attributes:
        entry: its settings.
        seed: of the config.
        job: what makes its result; ``None`` where it failed already.
        provenance: what is known of it before anything runs.
        failure: why it cannot be run.
        phases: what is to be done, ``evaluate`` first.
    """

    entry: EntrySettings
    seed: int
    job: Job | None
    provenance: Provenance
    failure: Failure | None = None
    phases: Sequence[str] = field(default=("evaluate",))

    @property
    def title(self) -> str:
        """For people."""
        return self.entry.name + (f" (seed {self.seed})" if self.seed else "")

    def output(self, phase: str) -> Path:
        """The file that a phase writes."""
        assert self.job is not None
        path = Path(self.job.output)
        return path if phase == "evaluate" else path.with_suffix(f".{phase}.json")

    def done(self, phase: str) -> bool:
        """Whether a phase is over, and what it wrote is whole."""
        return (
            self.outcome() is not None if phase == "evaluate" else self.measured(phase) is not None
        )

    def outcome(self) -> tuple[Result, EntryAnswers] | None:
        """The result with its answers; ``None`` where there is none."""
        if self.job is None:
            return None
        result = read_fact(Result, self.output("evaluate"))
        answers = read_fact(EntryAnswers, Path(self.job.answers))
        if result is None or answers is None or result.key != self.job.key:
            return None
        return None if self.why_stale(result) else (result, answers)

    def why_stale(self, fact: Result | Speed | Contest) -> str:
        """Why something measured must be measured again: the code changed; else empty."""
        assert self.job is not None
        folder = Path(self.job.code)
        why = why_stale(fact.code, folder)
        if not why and self.job.source == "config":
            why = why_model_stale(Path(self.job.run), folder)
        return why

    def measured(self, phase: str) -> Speed | Contest | None:
        """What ``speed`` or ``contest`` gave; ``None`` where it was not asked for or is missing."""
        if self.job is None or phase not in self.phases:
            return None
        path = self.output(phase)
        found = read_fact(Speed, path) if phase == "speed" else read_fact(Contest, path)
        return None if found is None or self.why_stale(found) else found

    def job_of(self, phase: str, parent: int) -> Job:
        """The job of a phase."""
        assert self.job is not None
        update = {"phase": phase, "output": str(self.output(phase)), "parent": parent}
        return self.job.model_copy(update=update)


def plan(
    suite: SuiteSettings,
    evaluated: Sequence[EvaluatedDataset],
    out: Path,
    registry: Registry | None = None,
    counted: Counted = lambda name, files: None,
) -> list[Task]:
    """The tasks of a suite; an entry that cannot be run is a task with its failure.

    Args:
        suite: the suite.
        evaluated: its data sets, open.
        out: folder of the bench.
        registry: of the plugins, by default all that are installed.
        counted: receives how many files of a data set were looked at, where there are many.
    """
    registry = registry or default_registry()
    phases = ["evaluate"]
    phases += ["speed"] if suite.measure.speed else []
    phases += ["contest"] if suite.measure.contest else []
    prints = Prints(registry, counted)
    data = [[each.to_json(), prints.of(each.use)] for each in evaluated]
    tasks = []
    for entry in suite.all_entries:
        for seed in suite.seeds_of(entry):
            overrides = suite.overrides_of(entry, seed) if entry.source == "config" else []
            provenance = Provenance(
                source=entry.source, path=str(entry.path), overrides=tuple(overrides), seed=seed
            )
            planner = _Planner(suite, evaluated, data, out, registry, prints)
            try:
                job = planner.job(entry, seed, overrides)
            except (EngineError, OSError) as error:
                message = str(error) if isinstance(error, EngineError) else f"{entry.path}: {error}"
                tasks.append(Task(entry, seed, None, provenance, Failure(what=message), ()))
                continue
            some = phases if entry.source != "predictions" else ["evaluate"]
            tasks.append(Task(entry, seed, job, provenance, None, some))
    return tasks


def _manifest_of(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest of an artifact or an export, and the name of the config in it."""
    if exported.is_export(folder):
        return exported.read_onnx_export(folder, verify=False), exported.CONFIG
    return read_manifest(folder, verify=False), CONFIG


@dataclass(frozen=True)
class _Planner:
    suite: SuiteSettings
    evaluated: Sequence[EvaluatedDataset]
    data: Sequence[Any]
    out: Path
    registry: Registry
    prints: Prints

    def job(self, entry: EntrySettings, seed: int, overrides: Sequence[str]) -> Job:
        datasets = [each.to_json() for each in self.evaluated]
        config: Path | None = None
        settings: EngineConfig | None = None
        zero_shot: Any = None
        if entry.source == "config":
            settings = load_config(entry.path, overrides, registry=self.registry)
            model = digest("config", self._of_config(settings), self.suite.threads, *self._device)
            trained = self.suite.trained_as(entry)
            run = self.out / "models" / f"{trained}.{seed}.{model[:12]}"
            config = self.out / "models" / f"{run.name}.yaml"
            write_text(config, dump_config(settings))
            zero_shot = settings.zero_shot.model_dump(mode="json")
        elif entry.source == "artifact":
            run = entry.path if exported.is_export(entry.path) else model_folder(entry.path)
            manifest, name = _manifest_of(run)
            settings = load_config(run / name, registry=self.registry)
            data = settings.data.train  # looked at for pictures that it has in common
            prints = "" if data is None else self.prints.of(data)
            model = digest("artifact", manifest["files"], prints)
            zero_shot = settings.zero_shot.model_dump(mode="json")
        else:
            run = self.out
            model = digest("predictions", sha256(entry.path))
        backend = [self.suite.backend] if self.suite.backend else []
        measured = [self.suite.threads, dict(machine()), *self._device, *backend]
        fit = [] if entry.fit is None else [f"fit to {entry.fit}"]
        key = digest(model, self.data, zero_shot, measured, *fit)
        uses = [*self._plugins(settings), *(each.use for each in self.evaluated)]
        stem = f"{entry.name}.{seed}.{key[:12]}"
        results = self.out / "results"
        return Job(
            phase="evaluate", entry=entry.name, seed=seed, key=key,
            architecture=self._architecture(entry, settings, measured), source=entry.source,
            path=str(entry.path), overrides=tuple(overrides),
            config=None if config is None else str(config), run=str(run), fit=entry.fit,
            fitted="" if entry.fit is None else str(self.out / "models" / f"{stem}.fitted"),
            datasets=tuple(datasets), threads=self.suite.threads,
            device=self.suite.device, backend=self.suite.backend,
            output=str(results / f"{stem}.json"), answers=str(results / f"{stem}.answers.json"),
            features=str(self.out / "features"), code=str(self.out / "code"),
            packages=packages_of(uses, self.registry), draws=self.suite.measure.draws,
        )  # fmt: skip

    @staticmethod
    def _architecture(
        entry: EntrySettings, config: EngineConfig | None, measured: Sequence[object]
    ) -> str:
        """What the speed of a trained config follows from: not its weights, seed and training.

        Other sources, and models that are made to fit, have a speed of their own.
        """
        if entry.source != "config" or entry.fit is not None or config is None:
            return ""
        plain = config.model_dump(mode="json", by_alias=True, round_trip=True)
        return digest("speed", plain["model"], plain["storage"], measured)

    @property
    def _device(self) -> list[str]:
        """What tells the results of a device from those of the default one."""
        return [] if self.suite.device is None else [self.suite.device]

    def _of_config(self, config: EngineConfig) -> Mapping[str, Any]:
        """What a trained model follows from."""
        data = config.data.train
        plain = config.model_dump(mode="json", by_alias=True, round_trip=True)
        plain["data"] = [] if data is None else [plain["data"]["train"], self.prints.of(data)]
        for name in ("limits", "zero_shot"):  # no weight follows from these
            plain.pop(name, None)
        if plain.get("train"):
            plain["train"].pop("loggers")
        return {"config": plain, "files": files_digest(config.model)}

    @staticmethod
    def _plugins(config: EngineConfig | None) -> list[object]:
        """The settings of a config that choose plugins."""
        return [] if config is None else [config.model, config.data, config.train, config.clusters]

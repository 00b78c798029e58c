"""A job: what one process of the bench does, as a file that it is given."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engine.bench.results import _Fact
from engine.core import terminal
from engine.core.config.loader import load_config
from engine.core.config.schema import EngineConfig
from engine.errors import EngineError

_log = logging.getLogger(__name__)


class Job(_Fact):
    """One process's work.

    Attributes:
        phase: ``evaluate`` makes the model and answers; ``speed`` and ``contest`` measure a model
            that is there.
        key: of the result.
        architecture: what the speed follows from beside the code; empty where it is this model's
            alone.
        source: of the entry.
        path: what the entry named.
        config: file of the resolved config; ``None`` where there is none.
        run: folder of the training; the model is ``run/model``. For an artifact its own folder.
        fit: bytes that the model is made to fit under; ``None``: it stays as it is.
        fitted: the artifact of the fitted model.
        datasets: see ``EvaluatedDataset.to_json``.
        threads: of the arithmetic.
        device: of training, answers and timing; ``None``: as configs say, and the CPU answers.
        backend: what computes the answers; ``None``: what the folder is for.
        output: the file that the job writes, whole, at its end.
        answers: in the same way, of ``evaluate``.
        features: folder of vision features that all entries share.
        code: folder of the records of code.
        packages: top-level packages of the plugins in use.
        parent: process id of the bench; the job ends when that one is gone.
    """

    phase: Literal["evaluate", "speed", "contest"]
    entry: str
    seed: int
    key: str
    architecture: str = ""
    source: Literal["config", "artifact", "predictions"]
    path: str
    overrides: tuple[str, ...] = ()
    config: str | None = None
    run: str = ""
    fit: int | None = None
    fitted: str = ""
    datasets: tuple[Mapping[str, Any], ...] = ()
    threads: int = 1
    device: str | None = None
    backend: Literal["torch", "onnxruntime"] | None = None
    output: str
    answers: str = ""
    features: str = ""
    code: str = ""
    packages: tuple[str, ...] = ()
    parent: int = 0
    draws: int = 10_000

    @property
    def model(self) -> Path:
        """The artifact that is evaluated."""
        return Path(self.fitted) if self.fitted else self.made

    @property
    def made(self) -> Path:
        """The artifact that was trained or named, before it is made to fit."""
        return Path(self.run) if self.source == "artifact" else Path(self.run) / "model"

    def load_config(self) -> EngineConfig:
        """The entry's config."""
        assert self.config is not None
        return load_config(Path(self.config))


def read_job(path: str) -> Job:
    """Read a job that the bench wrote."""
    return Job.model_validate_json(Path(path).read_bytes())


@contextmanager
def reporting(job: Job) -> Iterator[None]:
    """Errors of the user's to stderr in plain words and exit code 2; ends with the bench."""
    if job.parent:
        threading.Thread(target=_end_with, args=(job.parent,), daemon=True).start()
    with terminal.guarded():
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        logging.getLogger("engine").setLevel(logging.INFO)
        try:
            yield
        except EngineError as error:
            _log.error("error: %s", error.message)
            if error.hint:
                _log.error("hint: %s", error.hint)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)


def _end_with(parent: int) -> None:
    """A bench that was killed cannot end its processes: they see it and save what they have."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)

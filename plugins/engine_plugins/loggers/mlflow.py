"""MLflow. Its package is optional: `pip install mlflow-skinny`, or mlflow."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Mapping
from typing import Any

from engine.contracts import Logger, LoggerSettings, RunInfo
from engine.errors import PluginError
from engine_plugins.loggers.settings import MlflowSettings

_LONGEST = 500
"""Characters of a parameter's value, as MLflow allows them."""
_PARAMETERS = 100
"""Parameters of one request."""


class Mlflow(Logger):
    """A run of MLflow for each training; by default in files of the run's folder, no server.

    A run that goes on keeps its id, so that MLflow appends to it. Numbers that are not finite are
    left out.

    Raises:
        PluginError: the package is not installed; raised before training starts.
    """

    settings: MlflowSettings

    def __init__(self, settings: LoggerSettings) -> None:
        super().__init__(settings)
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError as error:
            raise PluginError(
                f"the logger `mlflow` needs the package mlflow ({error})",
                hint="`pip install mlflow-skinny`, or leave the logger out of `train.loggers`",
            ) from error
        self._run: str | None = None

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        if self.settings.uri is None:  # MLflow asks for this consent to its plain files
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        where = self.settings.uri or (run.folder / "mlruns").absolute().as_uri()
        self._client = self._mlflow.MlflowClient(tracking_uri=where)
        path = run.folder / ".mlflow-id"
        if run.step > 0 and path.is_file():
            self._run = path.read_text(encoding="utf-8").strip()
            self._client.update_run(self._run, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.settings.experiment)
        number = (
            self._client.create_experiment(self.settings.experiment)
            if found is None
            else found.experiment_id
        )
        self._run = str(self._client.create_run(number, run_name=run.name).info.run_id)
        path.write_text(self._run + "\n", encoding="utf-8")
        entities = self._mlflow.entities
        flat = list(_flat(run.config).items())
        for first in range(0, len(flat), _PARAMETERS):
            some = flat[first : first + _PARAMETERS]
            parameters = [entities.Param(name, str(value)[:_LONGEST]) for name, value in some]
            self._client.log_batch(self._run, params=parameters)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        now = int(1000 * time.time())
        metrics = [
            self._mlflow.entities.Metric(_name(name), float(value), now, step)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def note(self, step: int, text: str) -> None:
        """See the contract: a tag of the run keeps the last note."""
        self._client.set_tag(self._run, "note", f"step {step}: {text}")

    def close(self) -> None:
        """See the contract."""
        if self._run is not None:
            self._client.set_terminated(self._run)
            self._run = None


def _name(name: str) -> str:
    """A name as MLflow allows it: letters, digits and ``_-. /``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in name)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested values under dotted names."""
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        pairs = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {_name(prefix)[:250]: value}
    found: dict[str, object] = {}
    for key, item in pairs:
        found |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return found

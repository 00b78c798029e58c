"""Weights & Biases. Its package is optional: `pip install wandb`."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

from engine.contracts import Logger, LoggerSettings, RunInfo
from engine.errors import PluginError
from engine_plugins.loggers.settings import WandbSettings


class Wandb(Logger):
    """A run of W&B for each training; by default offline, in the run's folder, nothing is sent.

    A run that goes on keeps its id, so that W&B appends to it. Numbers that are not finite are left
    out, since its charts do not draw them.

    Raises:
        PluginError: the package is not installed; raised before training starts.
    """

    settings: WandbSettings

    def __init__(self, settings: LoggerSettings) -> None:
        super().__init__(settings)
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise PluginError(
                f"the logger `wandb` needs the package wandb ({error})",
                hint="`pip install wandb`, or leave the logger out of `train.loggers`",
            ) from error
        self._run: Any = None

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        path = run.folder / ".wandb-id"
        going_on = run.step > 0 and path.is_file()
        name = path.read_text(encoding="utf-8").strip() if going_on else self._new_id()
        path.write_text(name + "\n", encoding="utf-8")
        self._run = self._wandb.init(
            project=self.settings.project, entity=self.settings.entity, name=run.name, id=name,
            group=self.settings.group, dir=str(run.folder), mode=self.settings.mode,
            resume="allow", config=dict(run.config), reinit="create_new",
            settings=self._wandb.Settings(console="off", silent=True),
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        self._run.log({n: v for n, v in values.items() if math.isfinite(v)}, step=step)

    def note(self, step: int, text: str) -> None:
        """See the contract: the run's summary keeps the last note."""
        self._run.summary["note"] = f"step {step}: {text}"

    def close(self) -> None:
        """See the contract."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    @staticmethod
    def _new_id() -> str:
        import uuid

        return uuid.uuid4().hex[:12]

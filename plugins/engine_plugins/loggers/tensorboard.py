"""TensorBoard's files. Its package is optional: `pip install tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts import Logger, LoggerSettings, RunInfo
from engine.errors import PluginError
from engine_plugins.loggers.settings import TensorBoardSettings


class TensorBoard(Logger):
    """Numbers as scalars, notes as texts.

    Raises:
        PluginError: the package is not installed; raised before training starts.
    """

    settings: TensorBoardSettings

    def __init__(self, settings: LoggerSettings) -> None:
        super().__init__(settings)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise PluginError(
                f"the logger `tensorboard` needs the package tensorboard ({error})",
                hint="`pip install tensorboard`, or leave the logger out of `train.loggers`",
            ) from error
        self._make: Any = SummaryWriter

    def start(self, run: RunInfo) -> None:
        """See the contract. Steps that a crash made come again are purged."""
        folder = run.folder / self.settings.folder
        self._writer = self._make(str(folder), purge_step=run.step + 1 if run.step else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def note(self, step: int, text: str) -> None:
        """See the contract."""
        self._writer.add_text("notes", text, step)

    def close(self) -> None:
        """See the contract."""
        self._writer.close()

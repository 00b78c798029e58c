"""Settings of the built-in loggers. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contracts import LoggerSettings


class ConsoleSettings(LoggerSettings):
    """Progress on stderr."""

    seconds: float = Field(
        5.0, gt=0, description="between two lines where stderr is not a terminal (a file, CI)"
    )


class JsonLinesSettings(LoggerSettings):
    """A JSON object a line, in the run's folder."""

    file: str = Field("log.jsonl", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="its name")


class CsvSettings(LoggerSettings):
    """A CSV file of steps, names and values, in the run's folder."""

    file: str = Field("log.csv", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="its name")


class TensorBoardSettings(LoggerSettings):
    """TensorBoard's files, in the run's folder."""

    folder: str = Field(
        "tensorboard", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="their folder"
    )


class WandbSettings(LoggerSettings):
    """A run of Weights & Biases; nothing is sent unless `mode` is `online`."""

    project: str = Field("engine", min_length=1, max_length=128, description="project of W&B")
    entity: str | None = Field(None, max_length=128, description="user or team of W&B")
    group: str | None = Field(None, max_length=128, description="puts runs together, such as seeds")
    mode: Literal["offline", "online"] = Field(
        "offline", description="offline: files in the run's folder; `wandb sync` sends them later"
    )


class MlflowSettings(LoggerSettings):
    """A run of MLflow."""

    uri: str | None = Field(
        None, min_length=1, max_length=1000,
        description="tracking server or folder; by default `mlruns` in the run's folder",
    )  # fmt: skip
    experiment: str = Field(
        "engine", min_length=1, max_length=200, description="experiment of MLflow"
    )

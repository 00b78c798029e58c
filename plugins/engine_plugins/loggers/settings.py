"""Settings of the built-in loggers. Nothing here imports torch."""

from __future__ import annotations

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

"""SWEEP.yaml: which settings are searched over, without importing torch.

::

    engine: 1
    name: rates
    config: configs/tiny/digits.yaml
    keys:
      train.stages.0.optimizer.lr: [1.0e-4, 3.0e-4, 1.0e-3]       # these values
      model.embed_dim: {low: 16, high: 256, log: true}            # a range, with `trials`
    trials: 20                                                    # at random; without: all
    seeds: [0, 1]
    limit: 3 MB
    halving: {rungs: 3, factor: 3}
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.contracts.limits import MAX_SEED
from engine.contracts.refs import LoggerRef
from engine.contracts.settings import Settings
from engine.contracts.values import Bytes
from engine.core.config.loader import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.core.registry import Registry

MAX_TRIALS = 10_000


class Range(Settings):
    """Any value between two bounds, drawn at random."""

    low: int | float = Field(description="the smallest value", examples=[1.0e-4])
    high: int | float = Field(description="the largest value", examples=[1.0e-2])
    log: bool = Field(False, description="drawn evenly over powers, as learning rates should be")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("`low` must be below `high`")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range begins above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether whole numbers alone are drawn: both bounds are written as such."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class HalvingSettings(Settings):
    """Successive halving: all train a little, the best go on, the others end."""

    rungs: int = Field(
        3, ge=1, le=10, description="how often trainings are compared; 1: all are trained whole"
    )
    factor: float = Field(
        3.0, gt=1, le=100, allow_inf_nan=False,
        description="one of so many goes on, and trains so many times as long",
    )  # fmt: skip
    finalists: int = Field(
        2, ge=1, le=MAX_TRIALS, description="trials that are trained whole, at least"
    )

    def shares(self) -> tuple[float, ...]:
        """The share of a training that each rung ends at; the last one is 1."""
        return tuple(self.factor ** -(self.rungs - 1 - rung) for rung in range(self.rungs))


Values = Annotated[tuple[Any, ...], Field(min_length=1, max_length=1000)]
Key = Annotated[str, Field(min_length=1, max_length=200)]


class SweepSettings(Settings):
    """A whole sweep."""

    engine: Literal[1] = Field(description="version of the schema")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60,
        description="of the sweep and of its folder", examples=["rates"],
    )  # fmt: skip
    config: Path = Field(
        description="the config that is varied, with `train` and `data.evaluate`",
        examples=["configs/tiny/digits.yaml"],
    )
    set: dict[str, Any] = Field(
        {}, description="laid over the config in every trial", examples=[{"train.threads": 1}]
    )
    keys: dict[Key, Values | Range] = Field(
        min_length=1,
        description="the settings that are varied: a list of values, or a range for `trials`",
        examples=[{"train.stages.0.optimizer.lr": [1.0e-4, 1.0e-3]}],
    )
    trials: int | None = Field(
        None, ge=1, le=MAX_TRIALS,
        description="so many combinations drawn at random; by default every combination",
    )  # fmt: skip
    draw: int = Field(0, ge=0, le=MAX_SEED, description="seed of the random combinations")
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        (0,), min_length=1, description="each trial is trained once with each; the mean counts"
    )
    limit: Bytes | None = Field(
        None, description="most bytes of the weight file; a larger trial is not trained"
    )
    score: str = Field(
        "accuracy", min_length=1, max_length=200, description="the score that counts"
    )
    better: Literal["higher", "lower"] = Field("higher", description="which scores are better")
    halving: HalvingSettings = HalvingSettings()
    loggers: tuple[LoggerRef, ...] = Field(
        (), description="where each trial writes its numbers, instead of the config's loggers"
    )

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @model_validator(mode="after")
    def _countable(self) -> Self:
        ranges = [key for key, values in self.keys.items() if isinstance(values, Range)]
        if ranges and self.trials is None:
            raise ValueError(f"`{ranges[0]}` is a range: `trials` says how many values are drawn")
        for key in ("seed", "limits.weights"):
            if key in self.keys:
                instead = "`seeds`" if key == "seed" else "`limit`"
                raise ValueError(f"`{key}` is not a key of a sweep: write {instead}")
        if self.trials is None and self.combinations > MAX_TRIALS:
            raise ValueError(
                f"{self.combinations:,} combinations; more than {MAX_TRIALS:,} are not tried:"
                " `trials` draws some of them"
            )
        return self

    @property
    def combinations(self) -> int:
        """Of the listed values; ranges have no number of values."""
        count = 1
        for values in self.keys.values():
            count *= 1 if isinstance(values, Range) else len(values)
        return count


def load_sweep(
    path: Path, overrides: Sequence[str] = (), *, registry: Registry | None = None
) -> SweepSettings:
    """Read a sweep.

    Raises:
        ConfigError: all of its mistakes, each with its place.
    """
    return load_settings(SweepSettings, path, overrides, registry=registry)

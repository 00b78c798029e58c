"""A sampler to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import SamplerSettings
from pydantic import Field


class ${class_name}Settings(SamplerSettings):
    """$title."""

    run: int = Field(8, ge=1, description="rows that follow each other in the data and here")
'''

PLUGIN = '''\
"""`$name`: the rows of every batch.

Its contract: engine/contracts/training.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from engine.contracts import Epoch, Rows, Sampler
from engine.errors import DataError

from .settings import ${class_name}Settings


class $class_name(Sampler):
    """$title.

    A pure function of the epoch: the same seed, the same batches.
    """

    settings: ${class_name}Settings

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """Batches of exactly `batch_size` different rows; what does not fill one is left out."""
        if epoch.rows < epoch.batch_size:
            raise DataError(
                f"{epoch.rows} rows are fewer than a batch of {epoch.batch_size}",
                hint="a smaller `batch_size` of the stage, or more data",
            )
        runs = -(-epoch.rows // self.settings.run)
        starts = np.random.default_rng(epoch.seed).permutation(runs) * self.settings.run
        order = (starts[:, None] + np.arange(self.settings.run)).ravel()
        order = order[order < epoch.rows]
        count = epoch.rows // epoch.batch_size
        return list(order[: count * epoch.batch_size].reshape(count, epoch.batch_size))
'''

PACKAGE = PackageKind(
    file="sampler",
    contract="Sampler",
    contract_module="engine.contracts.training",
    summary="short runs of rows in random order, for data that lie on a slow disk",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"sampler": "{use: $name}"},
)

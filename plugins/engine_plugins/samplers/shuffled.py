"""Every row once an epoch, in random order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.contracts import Epoch, Rows, Sampler
from engine.errors import DataError


def check_rows(epoch: Epoch) -> None:
    """Raise DataError where there are fewer rows than a batch."""
    if epoch.rows < epoch.batch_size:
        raise DataError(
            f"the training data have {epoch.rows} usable rows, fewer than a batch of"
            f" {epoch.batch_size}",
            hint="a smaller `batch_size` of the stage, or more data",
        )


class Shuffled(Sampler):
    """A random permutation cut into batches; what does not fill the last one is left out."""

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """See the contract."""
        check_rows(epoch)
        order = np.random.default_rng(epoch.seed).permutation(epoch.rows)
        full = epoch.rows // epoch.batch_size
        return list(order[: full * epoch.batch_size].reshape(full, epoch.batch_size))

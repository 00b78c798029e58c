"""Rows of shards, read from beginning to end: for data that are slow where one jumps about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.contracts import Epoch, Rows, Sampler
from engine.errors import DataError
from engine_plugins.samplers.settings import WindowedSettings
from engine_plugins.samplers.shuffled import check_rows


class Windowed(Sampler):
    """Shards in random order, cut into streams of one length; each stream is mixed in a window.

    Every batch has equally many rows of each stream, in the order of the streams, so that each of
    several processes reads its own shards. How well rows are mixed: within its stream a row stands
    less than ``window / streams`` places from where it is read, on average a quarter of that, and
    of two rows that are read one after the other, each comes first about equally often. A batch has
    rows of ``streams`` places of the data, each of about ``window / streams`` rows; what lies in
    one shard never comes later in the epoch than that shard. A window as long as the data is a
    permutation of each stream.
    """

    settings: WindowedSettings

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """See the contract.

        Raises:
            DataError: fewer rows than a batch, or the data are not in shards.
        """
        check_rows(epoch)
        if epoch.shards is None:
            raise DataError(
                "the sampler `windowed` needs data in shards",
                hint="the data set `shards` has them; others are read by the sampler `shuffled`",
            )
        rng = np.random.default_rng(epoch.seed)
        full = epoch.rows // epoch.batch_size
        most = min(self.settings.streams, epoch.batch_size)
        streams = next(n for n in range(most, 0, -1) if epoch.batch_size % n == 0)
        order = _by_shards(epoch.shards, rng)[: full * epoch.batch_size].reshape(streams, -1)
        window = max(1, self.settings.window // streams)
        places = np.arange(order.shape[1]) + window * rng.random(order.shape)
        mixed = np.take_along_axis(order, np.argsort(places, axis=1, kind="stable"), axis=1)
        found = mixed.reshape(streams, full, -1).transpose(1, 0, 2).reshape(full, -1)
        return list(found)


def _by_shards(starts: Rows, rng: np.random.Generator) -> Rows:
    """All rows, shard by shard, the shards in random order."""
    order = rng.permutation(len(starts) - 1)
    parts = [np.arange(starts[shard], starts[shard + 1]) for shard in order]
    found: Rows = np.concatenate([np.zeros(0, np.int64), *parts])
    return found

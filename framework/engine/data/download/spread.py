"""The same download over the machines of a Ray cluster.

This process keeps the state and the files; each task fetches and decodes one chunk of the list on
some machine and gives back its JPEGs. So nothing but this folder needs to be shared, and the result
is the same as without Ray. A task that is lost with its machine is begun again by Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from engine.core.ray_cluster import joined_cluster
from engine.data.download.fetch import Body, Fetcher
from engine.data.download.outcome import Downloaded, Failed, Item, Refusal
from engine.data.download.pool import Pool
from engine.data.download.schedule import Scheduler
from engine.data.download.settings import DownloadSettings
from engine.errors import EngineError

CHUNK = 256
"""Images of a task: their JPEGs are in memory together, here and there."""

_WAITING = 2
"""Tasks beyond the cluster's cores that are handed out ahead."""


class RayError(EngineError):
    """A task on Ray failed."""


async def spread(
    settings: DownloadSettings,
    items: Iterator[Item],
    taken: Callable[[Item, Downloaded | Failed], None],
    stopped: Callable[[], bool],
    held: Callable[[], bool] = lambda: False,
) -> None:
    """Bring every item to its end on a Ray cluster (of ``RAY_ADDRESS``, or one of this machine).

    Args:
        settings: the choices; connections and limits a host hold for each task by itself.
        items: the images, read as tasks are handed out.
        taken: receives the end of each; a :class:`Downloaded` brings its JPEG.
        stopped: asked between results; what is under way is then dropped.
        held: while it says so, no further tasks are handed out.

    Raises:
        PluginError: Ray is not installed, or its cluster cannot be reached.
        RayError: a task cannot be brought to its end.
    """
    with joined_cluster(
        "the same download from this machine", log_to_driver=False, configure_logging=False
    ) as ray:
        try:
            await _spread(ray, settings, items, taken, stopped, held)
        except ray.exceptions.RayError as error:
            raise RayError(f"a task of Ray failed: {error}") from error


async def _spread(
    ray: Any,
    settings: DownloadSettings,
    items: Iterator[Item],
    taken: Callable[[Item, Downloaded | Failed], None],
    stopped: Callable[[], bool],
    held: Callable[[], bool],
) -> None:
    task = ray.remote(num_cpus=1, max_retries=3)(fetch_chunk)
    maximum = int(ray.cluster_resources().get("CPU", 1)) + _WAITING
    under_way: dict[Any, list[Item]] = {}
    exhausted = False
    try:
        while not stopped():
            while not exhausted and len(under_way) < maximum and not held():
                chunk = list(islice(items, CHUNK))
                if not chunk:
                    exhausted = True
                    break
                under_way[task.remote(settings, chunk)] = chunk
            if exhausted and not under_way:
                return
            if not under_way:  # no task may be handed out yet
                await asyncio.sleep(0.1)
                continue
            ready, _ = await asyncio.to_thread(ray.wait, list(under_way), timeout=0.5)
            for reference in ready:
                results = await asyncio.to_thread(ray.get, reference)
                for item, result in zip(under_way.pop(reference), results, strict=True):
                    taken(item, result)
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)


def fetch_chunk(settings: DownloadSettings, items: list[Item]) -> list[Downloaded | Failed]:
    """Fetch and decode some images in this process and one decoder beside it; runs on any machine.

    Returns:
        The end of each item, in their order; a :class:`Downloaded` brings its JPEG.
    """
    from dataclasses import replace

    return asyncio.run(_fetch_chunk(replace(settings, workers=1), items))


async def _fetch_chunk(settings: DownloadSettings, items: list[Item]) -> list[Downloaded | Failed]:
    found: dict[int, Downloaded | Failed] = {}
    async with Pool(settings) as pool, Fetcher(settings) as fetcher:

        async def decode(item: Item, body: Body) -> Downloaded | Refusal:
            return await pool.decode(item.position, body, None)

        def done(item: Item, result: Downloaded | Failed) -> None:
            found[item.position] = result

        scheduler = Scheduler(settings, iter(items), fetcher.get, decode, done, backlog=8)
        await scheduler.run()
    return [found[item.position] for item in items]

"""The two sides of loader.py, each a process of its own: an epoch of pictures with texts.

``python loader_jobs.py engine|webdataset FOLDER WORKERS BATCH DRAFT`` prints one line of JSON:
pictures, seconds, seconds of the processor, and the mean normalised pixel of each picture.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZE = 224


def engine(folder: str, workers: int, batch: int, draft: float | None, kind: str) -> Iterator[Any]:
    """Engine's own way: the data set, its sampler, its reader; normalised where the model is."""
    import torch

    from engine.contracts import Epoch
    from engine.contracts.preprocess import SquarePreprocess, to_floats
    from engine.data.views import ViewReader
    from engine.train.pixels import PixelReader
    from engine.train.upload import Uploader
    from engine_plugins.datasets.settings import ShardsSettings
    from engine_plugins.datasets.shards import Shards
    from engine_plugins.samplers.settings import WindowedSettings
    from engine_plugins.samplers.windowed import Windowed

    torch.set_num_threads(1)
    data, preprocess = Shards(ShardsSettings(path=folder, draft=draft)), SquarePreprocess(SIZE)
    import numpy as np

    reader = PixelReader(ViewReader(data, preprocess), np.arange(len(data)), workers, kind=kind)
    upload = Uploader(torch.device("cpu"))
    epoch = Epoch(0, 1, len(data), batch, seed=1, shards=data.shards())
    order = Windowed(WindowedSettings(window=1000)).batches(epoch)
    for rows in order[:2]:
        reader.ahead(rows.tolist())
    for number, rows in enumerate(order):
        if number + 2 < len(order):
            reader.ahead(order[number + 2].tolist())
        pixels = [each for each in reader.take(rows.tolist()) if each is not None]
        texts = [data.record(int(row)).queries[0] for row in rows]
        yield to_floats(upload(pixels), preprocess), texts
    reader.close()


def webdataset(folder: str, workers: int, batch: int) -> Iterator[Any]:
    """open_clip's way (open_clip_train/data.py): its pipeline of webdataset, torch's DataLoader."""
    import open_clip
    import torch
    import webdataset as wds

    torch.set_num_threads(1)
    transform = open_clip.image_transform(SIZE, is_train=False)
    shards = sorted(str(path) for path in Path(folder).glob("*.tar"))
    pipeline = wds.DataPipeline(
        wds.SimpleShardList(shards),
        wds.shuffle(100),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.shuffle(1000 // max(workers, 1), initial=100),
        wds.decode("pilrgb"),
        wds.rename(image="jpg", text="txt"),
        wds.map_dict(image=transform),
        wds.to_tuple("image", "text"),
        wds.batched(batch, partial=False),
    )
    yield from wds.WebLoader(pipeline, batch_size=None, shuffle=False, num_workers=workers)


def main(side: str, folder: str, workers: str, batch: str, draft: str) -> None:
    """Read an epoch; the first batch is not counted: workers start in it."""
    count, own = int(workers), int(batch)
    if side == "webdataset":
        batches = webdataset(folder, count, own)
    else:
        kind = side.partition("-")[2]
        batches = engine(folder, count, own, float(draft) if float(draft) else None, kind)
    pictures, seconds, cpu, means = 0, 0.0, 0.0, dict[str, float]()
    started, used = time.perf_counter(), {}
    for number, (images, texts) in enumerate(batches):
        assert len(images) == len(texts) == own
        found = images[:, :, ::16, ::16].mean(dim=(1, 2, 3)).tolist()
        means |= dict(zip(texts, found, strict=True))
        if number:
            pictures += len(images)
            now = cpu_seconds()  # a worker that ended meanwhile counts up to the batch before
            seconds = time.perf_counter() - started
            cpu += sum(now[pid] - used.get(pid, 0.0) for pid in now)
            used = now
        else:
            started, used = time.perf_counter(), cpu_seconds()
    print(json.dumps({"pictures": pictures, "seconds": seconds, "cpu": cpu, "means": means}))


def cpu_seconds() -> dict[int, float]:
    """Seconds of the processor so far, of this process and those that it started."""
    own = os.getpid()
    pids = {own}
    for task in Path(f"/proc/{own}/task").iterdir():
        pids |= {int(pid) for pid in (task / "children").read_text().split()}
    found = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        found[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Do clusters of meaning help with pretrained towers? The study of docs/cluster-study.md.

    python benchmarks/clusters_study.py --json
    python benchmarks/clusters_study.py --most 20    # twenty trainings, the rest another time

Both towers are frozen, so their activations are made once (clusters_study_data.py). Engine's own
projections, routers, losses and samplers are then trained until the loss of classes that are not
trained on stops falling. Every finished training is a line of build/clusters_study/results.jsonl
under a key made of its settings, so that a run that was stopped goes on where it was.

- `accuracy`: a picture of an unseen class among the names of all unseen classes, percent.
- `within`: the same where only the names of the true class's own cluster may be the answer.
- `seen`, `seen_within`: the same two for new pictures of seen emoji; on `classes` for photographs.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from clusters_help import read_results, scored
from clusters_help_report import Report
from clusters_study_data import PLACE, VERSION, Kept, kept
from measure import arguments, finish
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Epoch
from engine.core.registry import default_registry

SETTINGS = Path(__file__).with_suffix(".yaml")
TRAINING = ("embed_dim", "clusters", "batch_size", "every", "patience", "max_steps",
            "router_weight")  # fmt: skip
"""What all trainings share, beside the optimizer."""

Plain = dict[str, Any]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """A training: what, on what, and the key of its settings."""

    data: str
    seed: int
    variant: str
    batches: str
    key: str


def plugin(kind: str, plain: Mapping[str, Any], *more: Any, **named: Any) -> Any:
    """Made as a config would make it."""
    registry, values = default_registry(), dict(plain)
    found = registry.get(kind, values.pop("use"))
    settings = found.load_settings().model_validate(values, context={"registry": registry})
    return found.load()(settings, *more, **named)


def jobs_of(settings: Plain) -> list[Job]:
    """All trainings, seed by seed, so that what is there is whole at any moment."""
    found = []
    shared = {name: settings[name] for name in (*TRAINING, "optimizer")}
    for seed in range(settings["seeds"]):
        for data, about in settings["data"].items():
            for batches, how in settings["batches"].items():
                for variant in how.get("only", settings["variants"]):
                    what = [
                        VERSION, shared, data, about["stop"], about["unseen"], seed,
                        settings["variants"][variant]["projection"], how["sampler"],
                    ]  # fmt: skip
                    text = json.dumps(what, sort_keys=True)
                    key = hashlib.sha256(text.encode()).hexdigest()[:16]
                    found.append(Job(data, seed, variant, batches, key))
    return found


def sizes_of(settings: Plain, width: int = 384) -> dict[str, int]:
    """Numbers of each variant's projection by ``<data> <variant>``.

    Raises:
        SystemExit: variants of equal size are not.
    """
    registry, sizes = default_registry(), {}
    for variant, about in settings["variants"].items():
        values = dict(about["projection"])
        found = registry.get("projection", values.pop("use")).load_settings()
        plan = found.model_validate(values, context={"registry": registry}).plan(
            width, settings["embed_dim"], width
        )
        sizes[variant] = sum(int(np.prod(tensor.shape)) for tensor in plan.values())
    for variant, about in settings["variants"].items():
        other = sizes[about.get("equal_to", variant)]
        if abs(sizes[variant] - other) > settings["tolerance"] * other:
            sys.exit(f"{variant} has {sizes[variant]:,} numbers, {about['equal_to']} {other:,}")
    return {f"{data} {variant}": n for data in settings["data"] for variant, n in sizes.items()}


class Split:
    """The classes of a data set for a seed: to train on, to stop by, unseen; and their clusters."""

    def __init__(self, data: Kept, about: Plain, clusters: int, seed: int) -> None:
        self.data = data
        count = len(data.names)
        order = np.random.default_rng([seed, 1]).permutation(count)
        unseen, stop = round(about["unseen"] * count), round(about["stop"] * count)
        self.unseen, self.stop = order[:unseen], order[unseen : unseen + stop]
        self.train = np.sort(order[unseen + stop :])
        self.texts = [np.flatnonzero(data.text_class == number) for number in range(count)]
        names = np.array([texts[0] for texts in self.texts])
        kmeans = plugin("clusterer", {"use": "kmeans", "count": clusters})
        own = data.pooled[names[self.train]]
        kmeans.learn(own, kmeans.cluster(own))
        self.names = names
        self.clusters: Numbers = kmeans.predict(data.pooled[names])
        places = len(data.pooled) - len(data.photo_texts)
        self.photo_names = np.arange(places, len(data.pooled))
        self.photo_clusters: Numbers = (
            kmeans.predict(data.pooled[self.photo_names]) if data.photo_texts else names[:0]
        )
        # Pictures trained on, [pictures, classes, J]; emoji keep the last background to be tested.
        several = len(data.images) > 1
        centre = data.images[:-1][:, self.train].mean(axis=(0, 1)) if several else 0
        self.images = torch.from_numpy(unit_rows(data.images - centre))
        self.photos = torch.from_numpy(unit_rows(data.photos))

    def state(self, texts: Numbers) -> dict[str, Tensor]:
        """What the text tower gives for some texts."""
        mask = self.data.mask[texts]
        longest = int(mask.sum(axis=1).max())
        ids = self.data.ids[texts, :longest]
        return {
            "pooled": torch.from_numpy(self.data.pooled[texts]),
            "token_embeddings": torch.from_numpy(self.data.table[ids]),
            "mask": torch.from_numpy(mask[:, :longest]),
        }


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    found: NDArray[np.float32] = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return found


class Text(nn.Module):
    """What is trained: the text projection and the scale of the cosines."""

    def __init__(self, projection: Mapping[str, Any], width: int, embed_dim: int) -> None:
        super().__init__()
        self.projection = plugin("projection", projection, width, embed_dim, embedding_width=width)
        self.logit_scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))

    def forward(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds the embedding, of length 1."""
        found: dict[str, Tensor] = self.projection(state)
        return {**found, "embedding": functional.normalize(found["embedding"], dim=-1)}


def train(settings: Plain, split: Split, job: Job) -> tuple[Text, Plain]:
    """Train until the loss of the classes to stop by does not fall; the weights with the lowest."""
    torch.manual_seed(job.seed)
    rng = np.random.default_rng([job.seed, 2])
    width, variant = split.data.pooled.shape[1], settings["variants"][job.variant]
    model = Text(variant["projection"], width, settings["embed_dim"])
    contrastive, router = (plugin("loss", {"use": use}) for use in ("contrastive", "router"))
    optimizer = torch.optim.AdamW(model.parameters(), **settings["optimizer"], fused=True)
    best, step, worse = (stop_loss(model, split), 0, copy.deepcopy(model.state_dict())), 0, 0
    for rows in batches_of(settings, split, job):
        classes = split.train[rows]
        texts = np.array([rng.choice(split.texts[number]) for number in classes])
        last = len(split.images) - 1
        pictures = rng.integers(max(1, last), size=len(classes))
        out = model.train()(split.state(texts))
        batch = {"image.embedding": split.images[pictures, classes],
                 "text.embedding": out["embedding"], "scale": model.logit_scale.exp()}  # fmt: skip
        loss = contrastive(batch)
        if "router_logits" in out:
            known = {"text.router_logits": out["router_logits"],
                     "cluster": torch.from_numpy(split.clusters[classes])}  # fmt: skip
            loss = loss + settings["router_weight"] * router(known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        step += 1
        if step % settings["every"] == 0:
            found = stop_loss(model, split)
            worse = 0 if found < best[0] else worse + 1
            if found < best[0]:
                best = (found, step, copy.deepcopy(model.state_dict()))
        if worse >= settings["patience"] or step >= settings["max_steps"]:
            break
    model.load_state_dict(best[2])
    return model.eval(), {"steps": step, "best_step": best[1], "stop_loss": best[0],
                          "to_the_end": worse >= settings["patience"]}  # fmt: skip


def batches_of(settings: Plain, split: Split, job: Job) -> Any:
    """Places in ``split.train``, epoch after epoch."""
    sampler = plugin("sampler", settings["batches"][job.batches]["sampler"])
    index = 0
    while True:
        epoch = Epoch(
            index=index,
            count=10**6,
            rows=len(split.train),
            seed=job.seed * 10**6 + index,
            batch_size=settings["batch_size"],
            clusters=split.clusters[split.train],
        )
        yield from sampler.batches(epoch)
        index += 1


def stop_loss(model: Text, split: Split) -> float:
    """The contrastive loss of the names of the classes to stop by, mean over their pictures."""
    with torch.inference_mode():
        own = model.eval()(split.state(split.names[split.stop]))["embedding"]
        right = torch.arange(len(own))
        found = []
        for images in split.images[:, split.stop]:
            logits = model.logit_scale.exp() * images @ own.T
            found.append(functional.cross_entropy(logits, right)
                         + functional.cross_entropy(logits.T, right))  # fmt: skip
    return float(torch.stack(found).mean() / 2)


def evaluated(model: Text, split: Split) -> Plain:
    """The measures, and what the router does with unseen names."""
    found: Plain = {}
    with torch.inference_mode():
        unseen = model(split.state(split.names[split.unseen]))
        every = split.images[:, split.unseen].flatten(0, 1)
        labels = np.tile(np.arange(len(split.unseen)), len(split.images))
        parts = [(("accuracy", "within"), every, unseen["embedding"], labels,
                  split.clusters[split.unseen])]  # fmt: skip
        seen = ("seen", "seen_within")
        if len(split.images) > 1:
            own = model(split.state(split.names[split.train]))["embedding"]
            parts.append((seen, split.images[-1, split.train], own, np.arange(len(split.train)),
                          split.clusters[split.train]))  # fmt: skip
        elif len(split.photos):
            own = model(split.state(split.photo_names))["embedding"]
            parts.append((seen, split.photos, own, split.data.photo_labels, split.photo_clusters))
        for measures, images, texts, right, clusters in parts:
            cosines = (images @ texts.T).numpy()
            for name, (percent, chance) in zip(
                measures, scored(cosines, right, clusters), strict=True
            ):
                found |= {name: percent, f"chance_{name}": chance}
    if "routed" in unseen:
        routed = unseen["routed"].numpy()
        found["router"] = 100 * float((routed == split.clusters[split.unseen]).mean())
    return found


def one(settings: Plain, job: Job) -> Plain:
    """A training and what came of it."""
    started = time.process_time()
    split = split_of(job.data, job.seed)
    model, how = train(settings, split, job)
    return {
        "key": job.key, "data": job.data, "variant": job.variant, "batches": job.batches,
        "seed": job.seed, **evaluated(model, split), **how,
        "cpu": round(time.process_time() - started, 1),
    }  # fmt: skip


@functools.lru_cache(maxsize=2)
def split_of(data: str, seed: int) -> Split:
    """A data set for a seed."""
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    about = settings["data"][data]
    return Split(kept(data, settings["embed_dim"]), about, settings["clusters"], seed)


def pilot(settings: Plain) -> Plain:
    """The optimizer's settings: those with the lowest loss to stop by, summed over the data sets.

    Of the arm `one`, on a seed that is not one of the study's. Kept in pilot.json.
    """
    asked, path = settings["pilot"], PLACE / "pilot.json"
    what = {name: settings[name] for name in ("data", "pilot", *TRAINING)}
    key = hashlib.sha256(json.dumps([VERSION, what], sort_keys=True).encode()).hexdigest()[:16]
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if done.get("key") == key:
        return dict(done["optimizer"])
    found = []
    for lr, decay in itertools.product(asked["lr"], asked["weight_decay"]):
        optimizer = {"lr": lr, "weight_decay": decay}
        trial = {**settings, "optimizer": optimizer}
        losses = {
            data: train(trial, split_of(data, asked["seed"]),
                        Job(data, asked["seed"], "one", "shuffled", ""))[1]["stop_loss"]
            for data in settings["data"]
        }  # fmt: skip
        found.append({"optimizer": optimizer, "losses": losses, "sum": sum(losses.values())})
        print(f"pilot: {found[-1]}", file=sys.stderr, flush=True)
    best = min(found, key=lambda each: each["sum"])
    path.write_text(json.dumps({"key": key, "optimizer": best["optimizer"], "tried": found}))
    return dict(best["optimizer"])


def append(path: Path, row: Plain) -> None:
    """A line of JSON; one before it that a kill cut short is ended first."""
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def main() -> None:
    """Train what is missing, report."""
    parser = arguments(__doc__)
    parser.add_argument("--most", type=int, help="trainings in this call (all)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings: Plain = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    PLACE.mkdir(parents=True, exist_ok=True)
    settings["optimizer"] = pilot(settings)
    sizes, jobs, path = sizes_of(settings), jobs_of(settings), PLACE / "results.jsonl"
    done = read_results(path)
    for job in [job for job in jobs if job.key not in done][: asked.most]:
        row = one(settings, job)
        append(path, row)
        done[job.key] = row
        print(f"seed {job.seed}: {job.data} {job.variant} {job.batches}: {row['accuracy']:.1f} %,"
              f" within {row['within']:.1f} %; {row['best_step']} of {row['steps']} steps,"
              f" {row['cpu']:.0f} CPU s", file=sys.stderr, flush=True)  # fmt: skip
    rows = [done[job.key] for job in jobs if job.key in done]
    missing = len(jobs) - len(rows)
    if missing:
        print(f"{missing} of {len(jobs)} trainings are missing; the same command goes on")
    report = Report(settings, rows, sizes)
    report.show(Console(width=max(Console().width, 160)))
    (PLACE / "clusters_study.html").write_text(report.page(), encoding="utf-8")
    finish(asked.json, {
        **report.figures(), "trainings": len(rows), "missing": missing,
        "cut_short": sum(not row["to_the_end"] for row in rows),
        "cpu_seconds": round(sum(row["cpu"] for row in rows)), "optimizer": settings["optimizer"],
        "steps": {"best": sorted(row["best_step"] for row in rows)[len(rows) // 2] if rows else 0,
                  "most": max((row["steps"] for row in rows), default=0)},
    })  # fmt: skip


if __name__ == "__main__":
    main()

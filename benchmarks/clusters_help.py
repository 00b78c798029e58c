"""Do clusters of meaning help? Trains the variants of clusters_help.yaml and compares them.

    python benchmarks/clusters_help.py --workers 2 --json
    python benchmarks/clusters_help.py --only shapes hard --seeds 1
    python benchmarks/clusters_help.py --longer 3    # the same towers, text towers trained longer

Every finished training is a line of build/clusters_help/results.jsonl under a key made of its
settings, so that a run that was killed goes on where it was. At the end: a table, the comparisons,
and build/clusters_help/clusters_help.html.

- `accuracy`: zero-shot, in percent, over the classes of the test, none of which training shows.
- `within`: the same where only the classes of the true class's own cluster may be the answer;
  images whose class is alone in its cluster are left out. The clusters are those of the data set
  and seed, the same for every variant.
- `seen`, `seen_within`: the same two for new pictures of the classes that training shows.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from clusters_help_jobs import (
    PLACE,
    Job,
    Plain,
    base_folder,
    base_job,
    check_sizes,
    dataset_of,
    jobs_of,
    loaded,
)
from clusters_help_report import Report
from measure import arguments, finish
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = Path(__file__).with_suffix(".yaml")


# ---- trainings ---------------------------------------------------------------------------------


def train_tower(job: Job) -> None:
    """Train a vision tower; keep it, the clusters, and the features of the test's images."""
    from engine.clusters import build_clustered, clusters_of
    from engine.core.build import save

    folder, started = base_folder(job.key), time.perf_counter()
    if (folder / "tower.json").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    config = loaded(job)
    built = build_clustered(config)
    dataset = config.data.train.create()
    stage = trained(built, dataset, None, PLACE / "runs" / job.key)
    save(built, folder / "model")
    clusters = clusters_of(built)
    assert clusters is not None
    kept, names = {}, {}
    for part in ("test", "seen"):
        asked = dataset_of(job.tested_on[part])
        skip = len(dataset) if part == "seen" and job.tested_on["skip"] else 0
        features, labels = features_of(built.model, asked, skip)
        kept |= {f"{part}_features": features, f"{part}_labels": labels}
        kept[f"{part}_clusters"] = clusters.assign(asked.classes)
        names[part] = list(asked.classes)
    of_rows, of_texts = labelled(clusters, dataset)
    np.savez(folder / "data.npz", rows=of_rows, texts=of_texts, **kept)
    about = {
        "scores": evaluated(built, folder, names),
        "names": names,
        "clusters": [cluster.name for cluster in clusters.document.clusters],
        "rows": np.bincount(of_rows[of_rows >= 0], minlength=clusters.count).tolist(),
        "seconds": round(time.perf_counter() - started, 1),
        "loss": stage["loss"],
    }
    temporary = folder / "tower.json.tmp"
    temporary.write_text(json.dumps(about, ensure_ascii=False))
    temporary.rename(folder / "tower.json")


def features_of(model: Any, dataset: Any, skip: int) -> tuple[Any, Any]:
    """[N, width] of the vision tower and [N] labels, of the images from ``skip`` on."""
    import torch

    from engine.contracts.preprocess import to_batch
    from engine.evaluate.images import read_batches

    features, labels = [], []
    for batch in read_batches(dataset, model.vision.preprocess, workers=1):
        read = [each for each in batch.read if each.index >= skip]
        if not read:
            continue
        pixels = to_batch([each.pixels for each in read], model.vision.preprocess)
        with torch.inference_mode():
            features.append(model.vision({"pixels": pixels})["pooled"].numpy())
        labels += [each.record.label for each in read]
    return np.concatenate(features), np.array(labels)


def labelled(clusters: Any, dataset: Any) -> tuple[Any, Any]:
    """Clusters of rows and of texts as ``engine.clusters.assign.label_dataset`` gives them.

    Rows of the same queries are embedded once: an emoji has several pictures.
    """
    from engine.clusters.assign import assign_rows

    rows = [dataset.record(index).queries for index in range(len(dataset))]
    different = list(dict.fromkeys(rows))
    found = dict(zip(different, assign_rows(clusters, different), strict=True))
    of_texts = np.concatenate([found[row][1] for row in rows])
    return np.array([found[row][0] for row in rows]), of_texts


def trained(built: Any, dataset: Any, labels: Any, folder: Path) -> Plain:
    """Train a model as its config says, in a folder that is gone afterwards; the summary."""
    from engine.train.data import TrainingRows
    from engine.train.loop import Trainer

    tokens = built.config.model.text.settings.max_tokens
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        trainer = Trainer(built, TrainingRows(dataset, built.tokenizer, tokens, labels), folder)
        trainer.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    built.model.eval()
    built.manifest["stages"] = trainer.state.finished_stages
    found: Plain = trainer.state.finished_stages[-1]
    return found


def train_variant(job: Job) -> Plain:
    """Train a variant's text tower against the shared vision tower, and evaluate it."""
    from engine.clusters.assign import DatasetLabels
    from engine.core.build import build

    started = time.perf_counter()
    base = base_folder(job.base)
    config = loaded(job)
    built = build(config)
    about = json.loads((base / "tower.json").read_text())
    with np.load(base / "data.npz") as kept:
        labels = DatasetLabels(kept["rows"], kept["texts"], len(about["clusters"]))
    stage = trained(built, config.data.train.create(), labels, PLACE / "runs" / job.key)
    return {
        "key": job.key,
        "data": job.data,
        "variant": job.variant,
        "batches": job.batches,
        "seed": job.seed,
        **evaluated(built, base, about["names"]),
        "steps": stage["steps"],
        "loss": stage["loss"],
        "seconds": round(time.perf_counter() - started, 1),
    }


def evaluated(built: Any, base: Path, names: Mapping[str, Sequence[str]]) -> Plain:
    """Accuracy over all classes and within clusters, unseen and seen; what the router does.

    Args:
        built: the model.
        base: where the features of the images and the clusters of the classes are.
        names: of the classes of ``test`` and ``seen``.
    """
    import torch
    from torch.nn import functional

    from engine.contracts.state import pad_tokens
    from engine.evaluate.predictor import Predictor

    model, tokenizer = built.model.eval(), built.tokenizer
    found: Plain = {}
    with np.load(base / "data.npz") as file:
        kept = dict(file)
    for part, *measures in (("test", "accuracy", "within"), ("seen", "seen", "seen_within")):
        with torch.inference_mode():
            features = {"pooled": torch.from_numpy(kept[f"{part}_features"])}
            image = functional.normalize(model.vision_projection(features)["embedding"], dim=-1)
            cosines = (image @ Predictor(built).class_vectors(names[part]).T).numpy()
        right = scored(cosines, kept[f"{part}_labels"], kept[f"{part}_clusters"])
        for name, (percent, chance) in zip(measures, right, strict=True):
            found |= {name: percent, f"chance_{name}": chance}
    tokens = tokenizer.encode(names["test"], built.config.model.text.settings.max_tokens)
    with torch.inference_mode():
        state = model.text_state(pad_tokens(tokens, tokenizer.pad_id))
    if "routed" in state:
        routed = state["routed"].numpy()
        found["router"] = 100 * float((routed == kept["test_clusters"]).mean())
        found["used"] = len(set(routed.tolist()))
    return found


def scored(cosines: Any, labels: Any, clusters: Any) -> tuple[tuple[float, float], ...]:
    """Percent right and percent by guessing: over all classes, and within the true class's cluster.

    Args:
        cosines: [images, classes].
        labels: [images], the true classes.
        clusters: [classes].
    """
    own = clusters[labels][:, None] == clusters[None, :]  # [images, classes]
    counted = own.sum(axis=1) > 1
    inside = np.where(own, cosines, -np.inf)[counted].argmax(axis=1)
    return (
        (100 * float((cosines.argmax(axis=1) == labels).mean()), 100 / len(clusters)),
        (
            100 * float((inside == labels[counted]).mean()),
            100 * float((1 / own.sum(axis=1))[counted].mean()),
        ),
    )


# ---- all of them -------------------------------------------------------------------------------


def read_results(path: Path) -> dict[str, Plain]:
    """Finished trainings by key; a line that a kill cut short is passed over."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = row
    return found


def end_with_parent() -> None:
    """A worker whose parent was killed ends at once, in the middle of its training."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_all(settings: Plain, bases: Sequence[Job], variants: Sequence[str], workers: int) -> None:
    """Train what is missing, seed by seed, so that what is there is whole at any moment."""
    results = PLACE / "results.jsonl"
    done = read_results(results)
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"  # before the workers begin: each has one core
    pool_of = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
    with pool_of as pool, results.open("a") as file:
        if file.tell() and not results.read_bytes().endswith(b"\n"):
            file.write("\n")
        waiting: list[tuple[list[Any], list[Job]]] = []  # towers under way, what follows on them
        for seed in sorted({base.seed for base in bases}):
            some = [base for base in bases if base.seed == seed]
            every = [job for base in some for job in jobs_of(settings, base, variants)]
            missing = [job for job in every if job.key not in done]
            needed = [base for base in some if any(job.base == base.key for job in missing)]
            waiting.append(([pool.submit(train_tower, base) for base in needed], missing))
            if len(waiting) > 1:  # the next seed's towers leave no worker idle
                finish_seed(pool, file, *waiting.pop(0))
        for each in waiting:
            finish_seed(pool, file, *each)


def finish_seed(pool: Any, file: Any, towers: Sequence[Any], missing: Sequence[Job]) -> None:
    """Wait for the vision towers, train the variants, write a line for each."""
    for future in towers:
        future.result()
    for future in as_completed([pool.submit(train_variant, job) for job in missing]):
        row = future.result()
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        print(
            f"seed {row['seed']}: {row['data']} {row['variant']} {row['batches']}:"
            f" {row['accuracy']:.1f} %, within {row['within']:.1f} %; seen {row['seen']:.1f} %,"
            f" within {row['seen_within']:.1f} % ({row['seconds']:.0f} s)",
            flush=True,
        )


def main() -> None:
    """Read the settings, train what is missing, report."""
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="data sets and variants by name")
    parser.add_argument("--seeds", type=int, help="seeds, from 0 (as the settings say)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time (2)")
    parser.add_argument("--longer", type=int, default=1, help="text towers train so many times (1)")
    asked = parser.parse_args()
    os.chdir(ROOT)
    settings: Plain = yaml.safe_load(SETTINGS.read_text())
    unknown = [n for n in asked.only if n not in settings["data"] | settings["variants"]]
    if unknown:
        sys.exit(f"--only: `{unknown[0]}` is neither a data set nor a variant of {SETTINGS.name}")
    for about in settings["data"].values():
        about["values"]["text_epochs"] *= asked.longer
    data = [name for name in settings["data"] if name in asked.only]
    variants = [name for name in settings["variants"] if name in asked.only]
    data, variants = data or list(settings["data"]), variants or list(settings["variants"])
    seeds = range(asked.seeds or settings["seeds"])
    bases = [base_job(settings, name, seed) for seed in seeds for name in data]
    jobs = [job for base in bases for job in jobs_of(settings, base, variants)]
    PLACE.mkdir(parents=True, exist_ok=True)
    sizes = check_sizes(settings, jobs)
    run_all(settings, bases, variants, asked.workers)
    done = read_results(PLACE / "results.jsonl")
    rows = [done[job.key] for job in jobs if job.key in done]
    report = Report(settings, rows, sizes)
    report.show(Console(width=max(Console().width, 160)))
    name = "clusters_help" if asked.longer == 1 else f"clusters_help_{asked.longer}_times_longer"
    page = PLACE / f"{name}.html"
    page.write_text(report.page(), encoding="utf-8")
    print(f"drawn in {page}")
    finish(asked.json, report.figures())


if __name__ == "__main__":
    main()

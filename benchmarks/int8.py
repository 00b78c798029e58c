"""ONNX in int8 beside onnxruntime's float32 and PyTorch: images of ViT-B/32, one thread.

One model (random weights, which take as long as trained ones) as an artifact, as its export in
float32 and as its export in int8, which its gate has let pass. All three answer the same pictures
through ``engine.load``, batches of 16, in turn in one process, so that a busy machine slows all of
them. Processors without instructions for products of 8-bit numbers (VNNI) gain less: which ones
this one has is read from /proc/cpuinfo.

Target: speed_ratio (int8 over float32, both onnxruntime) at least 2.5 with VNNI, 1.3 without.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import arguments, finish, in_turn, median_ratio
from rich.console import Console
from rich.table import Table

import engine
from engine.core.build import build, save
from engine.core.config import load_config
from engine.evaluate.predictor import Predictor
from engine.exchange.onnx import Int8, export_onnx

BATCH = 16
CONFIG = """\
engine: 1
name: int8_benchmark
model:
  embed_dim: 512
  vision: {use: openai_clip, arch: ViT-B-32, weights: {from: scratch}}
  text: {use: gpt3small, width: 64, layers: 2, heads: 2, vocab_size: 400, max_tokens: 32,
         n_positions: 64, tokenizer: {use: trained}}
  projection: {vision: {use: identity}, text: {use: linear}}
data: {train: {use: shapes, count: 40, size: 16}}
"""
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Names in /proc/cpuinfo of products of 8-bit numbers: x86's, then ARM's."""


def instructions() -> list[str]:
    """Which of them this processor has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    flags = {word for line in text.splitlines() if line[:5] in ("flags", "Featu") for word in
             line.partition(":")[2].split()}  # fmt: skip
    return [name for name in INSTRUCTIONS if name in flags]


def speed(folder: Path, rounds: int) -> dict[str, Any]:
    """Images per second of the three, and how near their answers are."""
    (folder / "m.yaml").write_text(CONFIG, encoding="utf-8")
    save(build(load_config(folder / "m.yaml")), folder / "model")
    export_onnx(folder / "model", folder / "float32")
    gate = export_onnx(folder / "model", folder / "int8", int8=Int8())["int8"]["vision"]
    models = {
        "torch": engine.load(folder / "model"), "float32": engine.load(folder / "float32"),
        "int8": engine.load(folder / "int8"),
    }  # fmt: skip
    side = models["torch"].model.vision.preprocess.size
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(BATCH)]

    def work(model: Predictor) -> float:
        started = time.perf_counter()
        model.encode_pixels(pixels)
        return BATCH / (time.perf_counter() - started)

    torch_, float32, int8 = in_turn(
        rounds, *(lambda model=model: work(model) for model in models.values())
    )
    return {
        "speed_ratio": median_ratio(int8, float32),
        "speed_over_torch": median_ratio(int8, torch_),
        "torch_per_second": float(np.median(torch_)),
        "float32_per_second": float(np.median(float32)),
        "int8_per_second": float(np.median(int8)),
        "vnni": instructions(),
        "gate_cosine": gate["cosine"], "gate_kept": gate["agreement"],
        "int8_layers": gate["layers"] - len(gate["float_layers"]), "layers": gate["layers"],
        "float32_mb": gate["float32_bytes"] / 1e6, "int8_mb": gate["bytes"] / 1e6,
    }  # fmt: skip


def main() -> None:
    """Measure, print a table."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = speed(Path(folder), options.rounds)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
    finish(options.json, figures)


if __name__ == "__main__":
    main()

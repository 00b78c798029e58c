"""How much longer and larger than safetensors' own reader Engine's is, on an artifact of 1.5 GB.

Every reading is a process of its own that has read a small artifact of the same kind before, so
that everything is imported; the kinds take turns. Each reads every number once, as an answer does:
both readers map the file, and a reader that only maps it has read nothing.

=========  =========================================================================================
``bare``   ``load_file``: tensors by name, and nothing else
``ready``  what a program without Engine does with them: the same modules, the tensors in them, and
           the tokenizer of the library `tokenizers`
``ours``   ``read_artifact``: the same, with config and manifest; the file was read whole before
``first``  the same for a file that is new here: sha256 of every byte, every number looked at
=========  =========================================================================================

``bare`` and ``ours`` are measured twice: with the file in the system's cache, where ``load_file``
reads nothing from the disk, and (``_cold``) with the file put out of that cache, as after the
machine was started.

``cold_time_ratio`` is ``ours_cold`` to ``bare_cold``, ``time_ratio`` ``ours`` to ``ready``,
``bare_time_ratio`` and ``memory_ratio`` ``ours`` to ``bare``. Memory is the peak of the process.

    python benchmarks/load.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WIDTH, LAYERS, TOKENS = 1024, 12, 200_000
KINDS = ("bare", "ready", "ours", "first", "bare_cold", "ours_cold")


def config(width: int, layers: int, tokens: int) -> str:
    """A model whose weights are about 1.5 GB at the defaults."""
    return f"""
engine: 1
name: large
model:
  embed_dim: 64
  vision: {{use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}}
  text:
    use: openai_clip
    width: {width}
    layers: {layers}
    heads: 16
    vocab_size: {tokens}
    embed_width: 64
  projection: {{vision: {{use: linear}}, text: {{use: identity}}}}
"""


def build(folder: Path, name: str, width: int, layers: int, tokens: int) -> Path:
    """Write an artifact, and its tokenizer as the library `tokenizers` has it."""
    from engine.core.build import build as build_model
    from engine.core.build import save
    from engine.core.config import load_config

    path = folder / f"{name}.yaml"
    path.write_text(config(width, layers, tokens), encoding="utf-8")
    artifact = folder / name
    save(build_model(load_config(path)), artifact)
    document = json.loads((artifact / "tokenizer.json").read_bytes())["tokenizers"]
    (folder / f"{name}.tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return artifact


def read(kind: str, artifact: Path) -> float:
    """Read every number once; their sum."""
    kind = kind.removesuffix("_cold")
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from engine.core.build import read_artifact

    if kind in ("ours", "first"):
        tensors = read_artifact(artifact).model.state_dict()
    else:
        tensors = load_file(artifact / "model.safetensors")
    if kind == "ready":
        Tokenizer.from_file(str(artifact.with_name(f"{artifact.name}.tokenizer.json")))
        model = modules(artifact)
        model.load_state_dict(tensors, assign=True)
        tensors = model.eval().state_dict()
    return sum(float(tensor.float().sum()) for tensor in tensors.values())


def modules(artifact: Path) -> Any:
    """The artifact's model without numbers."""
    import torch

    from engine.core.config import load_config
    from engine.core.making import make_model

    with torch.device("meta"):
        return make_model(load_config(artifact / "config.yaml"))


def forget(path: Path) -> None:
    """Put a file out of the system's cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def figures(kind: str, artifact: Path) -> dict[str, float]:
    """:func:`read` in this process: seconds and peak megabytes (10^6)."""
    import open_clip  # noqa: F401  (its vocabulary is read with the artifact)

    read(kind, artifact.with_name("small"))
    if kind.endswith("_cold"):
        forget(artifact / "model.safetensors")
    started = time.perf_counter()
    total = read(kind, artifact)
    seconds = time.perf_counter() - started
    assert total == total
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": seconds, "peak_mb": peak}


def measure(kind: str, artifact: Path, cache: Path) -> dict[str, float]:
    """:func:`figures` in a process of its own, with the user's cache in a folder of ours."""
    command = [sys.executable, __file__, "--read", kind, "--artifact", str(artifact)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    if kind == "first":
        environment["ENGINE_VERIFY"] = "always"
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--read", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--artifact", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(figures(args.read, args.artifact)))
        return
    with tempfile.TemporaryDirectory(prefix="engine-load-") as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        build(folder, "small", 32, 1, args.tokens)
        artifact = build(folder, "large", args.width, args.layers, args.tokens)
        size = (artifact / "model.safetensors").stat().st_size
        for kind in ("bare", "ours"):  # the file into the system's cache; known where it was not
            measure(kind, artifact, folder / "cache")
        runs = [{kind: measure(kind, artifact, folder / "cache") for kind in KINDS}
                for _ in range(args.rounds)]  # fmt: skip
    report(size, runs, as_json=args.json)


def report(size: int, runs: list[dict[str, dict[str, float]]], *, as_json: bool) -> None:
    """Print the medians, and the ratios of each round's."""
    middle = {
        kind: {key: statistics.median(run[kind][key] for run in runs)
               for key in ("seconds", "peak_mb")}
        for kind in KINDS
    }  # fmt: skip

    def ratio(above: str, below: str, key: str = "seconds") -> float:
        return statistics.median(run[above][key] / run[below][key] for run in runs)

    for kind, one in middle.items():
        print(f"{kind:10} {one['seconds']:8.3f} s {one['peak_mb']:10,.0f} MB")
    result = {
        "bytes": size,
        "time_ratio": ratio("ours", "ready"),
        "memory_ratio": ratio("ours", "bare", "peak_mb"),
        "cold_time_ratio": ratio("ours_cold", "bare_cold"),
        "bare_time_ratio": ratio("ours", "bare"),
        "first_time_ratio": ratio("first", "ready"),
        "first_memory_ratio": ratio("first", "bare", "peak_mb"),
    }
    print(f"{size:,} bytes: {result['cold_time_ratio']:.2f} times as long as load_file from the"
          f" disk, {result['memory_ratio']:.2f} times the memory; from the system's cache"
          f" {result['bare_time_ratio']:.2f} times load_file, {result['time_ratio']:.2f} times the"
          " same work without Engine")  # fmt: skip
    if as_json:
        print(json.dumps({**result, **middle}))


if __name__ == "__main__":
    main()

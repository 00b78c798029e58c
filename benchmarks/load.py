"""How much longer and larger than safetensors' own reader Engine's is, on an artifact of 1.5 GB.

Each reading is a process of its own; both kinds run in turn. Both have imported what Engine's
reader needs, and then read every number once. Memory is the peak of the process.

    python benchmarks/load.py --json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, LAYERS, TOKENS = 1024, 12, 200_000


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


def build(folder: Path, args: argparse.Namespace) -> Path:
    """Write the artifact."""
    from engine.core.build import build as build_model
    from engine.core.build import save
    from engine.core.config import load_config

    path = folder / "large.yaml"
    path.write_text(config(args.width, args.layers, args.tokens), encoding="utf-8")
    save(build_model(load_config(path)), folder / "artifact")
    return folder / "artifact"


def read(kind: str, artifact: Path) -> dict[str, float]:
    """Read once, in this process: seconds and peak megabytes (10^6)."""
    import open_clip  # noqa: F401  (its vocabulary is read with the artifact)
    from safetensors.torch import load_file

    from engine.core.build import read_artifact

    started = time.perf_counter()
    if kind == "ours":
        model = read_artifact(artifact).model
        total = sum(float(tensor.sum()) for tensor in model.state_dict().values())
    else:
        tensors = load_file(artifact / "model.safetensors")
        total = sum(float(tensor.float().sum()) for tensor in tensors.values())
    seconds = time.perf_counter() - started
    assert total == total
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": seconds, "peak_mb": peak}


def measure(kind: str, artifact: Path) -> dict[str, float]:
    """:func:`read` in a process of its own."""
    command = [sys.executable, __file__, "--read", kind, "--artifact", str(artifact)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--read", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--artifact", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read, args.artifact)))
        return
    with tempfile.TemporaryDirectory(prefix="engine-load-") as folder:
        artifact = build(Path(folder), args)
        size = (artifact / "model.safetensors").stat().st_size
        measure("theirs", artifact)  # the file into the system's cache
        runs = [{kind: measure(kind, artifact) for kind in ("theirs", "ours")}
                for _ in range(args.rounds)]  # fmt: skip
    middle = {
        kind: {key: statistics.median(run[kind][key] for run in runs)
               for key in ("seconds", "peak_mb")}
        for kind in ("theirs", "ours")
    }  # fmt: skip
    for kind, name in (("theirs", "safetensors' load_file"), ("ours", "Engine's read_artifact")):
        one = middle[kind]
        print(f"{name:24} {one['seconds']:8.2f} s {one['peak_mb']:10,.0f} MB")
    result = {
        "bytes": size,
        "time_ratio": middle["ours"]["seconds"] / middle["theirs"]["seconds"],
        "memory_ratio": middle["ours"]["peak_mb"] / middle["theirs"]["peak_mb"],
    }
    print(f"{size:,} bytes: {result['time_ratio']:.2f} times as long,"
          f" {result['memory_ratio']:.2f} times the memory")  # fmt: skip
    if args.json:
        print(json.dumps({**result, **middle}))


if __name__ == "__main__":
    main()

"""Other programs score Engine's models: CLIP_benchmark an export, MTEB a SentenceTransformer.

A small CLIP of random weights is built, exported for open_clip, and scored on pictures of the
contest's sample in an environment of its own (``venvs/peers_eval``, made at the first use, which
sees this one's libraries). Random weights answer at chance; what counts is that both programs give
the same answers, to the last picture.

    python benchmarks/peers_eval.py --json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

import measure

SAMPLE = measure.ROOT.parent / "shared" / "data" / "contest_sample"
PEERS = measure.ROOT / "venvs" / "peers_eval"
PACKAGES = ("mteb==2.26.24", "clip-benchmark==1.6.2")
TEMPLATES = ["a photo of a {}.", "{}"]
CONFIG = """
engine: 1
name: small_clip
model:
  embed_dim: 64
  vision: {use: openai_clip, image_size: 64, patch_size: 16, width: 64, layers: 2, heads: 4,
           embed_width: 64}
  text: {use: openai_clip, width: 64, layers: 2, heads: 4, embed_width: 64}
  projection: {vision: {use: identity}, text: {use: identity}}
zero_shot: {templates: TEMPLATES}
"""


def python() -> Path:
    """Python of the peers' environment."""
    found = PEERS / "bin" / "python"
    if (PEERS / "ready").exists():
        return found
    print("installing MTEB and CLIP_benchmark into venvs/peers_eval")
    venv.create(PEERS, with_pip=True, clear=True)
    inside = next((PEERS / "lib").glob("python*/site-packages"))
    (inside / "engine_libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [str(found), "-m", "pip", "install", "--quiet", "--constraint",
               str(measure.ROOT / "constraints.txt"), *PACKAGES]  # fmt: skip
    if subprocess.run(command).returncode:
        sys.exit("benchmark: the peers cannot be installed; they need a package index")
    (PEERS / "ready").touch()
    return found


def case_of(folder: Path, pictures: int) -> dict[str, Any]:
    """The artifact, its export, and pictures with their classes, as the jobs read them."""
    from engine.core.build import build, save
    from engine.core.config import load_config
    from engine.exchange.open_clip import export_open_clip

    config = folder / "small.yaml"
    config.write_text(CONFIG.replace("TEMPLATES", json.dumps(TEMPLATES)), encoding="utf-8")
    save(build(load_config(config)), folder / "artifact")
    export_open_clip(folder / "artifact", folder / "open_clip")
    data = SAMPLE / "caltech101"
    answers = json.loads((SAMPLE / "gt.json").read_text(encoding="utf-8"))["caltech101"]
    chosen: dict[int, list[str]] = {}
    for stem, label in answers.items():
        chosen.setdefault(label, []).append(stem)
    pairs = [(stem, label) for label, stems in chosen.items() for stem in stems[:pictures]]
    return {
        "artifact": str(folder / "artifact"),
        "open_clip": str(folder / "open_clip"),
        "templates": TEMPLATES,
        "classes": json.loads((data / "classes.json").read_text(encoding="utf-8")),
        "pictures": [str(next(data.glob(f"img/{stem}.*"))) for stem, _ in pairs],
        "labels": [label for _, label in pairs],
    }


def run(job: str, case: Path) -> dict[str, Any]:
    """A job in the peers' environment."""
    source = [str(measure.ROOT / name) for name in ("framework", "plugins")]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(source), "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
        "HF_HOME": str(case.parent / "hub"),
    }  # fmt: skip
    script = Path(__file__).with_name("peers_eval_jobs.py")
    done = subprocess.run(
        [str(python()), str(script), job, str(case)],
        cwd=case.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"benchmark: {job} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=10, help="of each class (10)")
    args = parser.parse_args()
    if not SAMPLE.is_dir():
        sys.exit(f"benchmark: {SAMPLE} is not there")
    with tempfile.TemporaryDirectory(prefix="engine-peers-") as temporary:
        case = Path(temporary) / "case.json"
        case.write_text(json.dumps(case_of(Path(temporary), args.pictures)), encoding="utf-8")
        scored, task = run("clip_benchmark", case), run("mteb", case)
    equal = f"{scored['equal_answers']} of {scored['pictures']} answers equal"
    for name, one in ((f"CLIP_benchmark: {equal},", scored), (f"MTEB {task['version']}:", task)):
        print(f"{name} accuracy {one['accuracy']:.4f}, Engine's {one['engine_accuracy']:.4f}")
    measure.finish(args.json, {
        "clip_benchmark_equal_share": scored["equal_answers"] / scored["pictures"],
        "clip_benchmark": scored, "mteb": task,
        "mteb_equal": task["accuracy"] == task["engine_accuracy"],
    })  # fmt: skip


if __name__ == "__main__":
    main()

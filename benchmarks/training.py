"""Training: Engine's loop against a plain one of the same model in open_clip's style.

Stage 1 is the contest's own: ViT-B/32 frozen, GPT-2-small text whose last three blocks train,
both projections, batch 256, queries of 4 to 15 tokens (10 on average). Stage 2 trains the
embeddings too. The plain loop locks the image tower as open_clip does, pads texts to 77 tokens (the
config's own limit is 15), and computes everything again each step; its pictures lie decoded in
memory, so nothing but arithmetic is compared. Both are processes of their own with the same weights
(random), data and seeds, and take their steps in turn. An epoch is two batches: Engine's first one
fills the cache, the later ones read it.

Targets: stage1_ratio at least 25 and stage2_ratio at least 6 after the first epoch; first_epoch at
least 1 (no slower); loss_difference at most 1e-3; memory_ratio at most 1; overhead (of the loop on
a model with nothing frozen, against a bare loop) at most 0.03. floor_ratio is what the ratio of
stage 1 would be if only the matrix products that remain took time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import arguments, finish
from rich.console import Console
from rich.table import Table


@dataclass
class Side:
    """One job's process and its measurements."""

    kind: str
    job: str
    threads: int
    size: int = 256
    clock: str = "wall"
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def __post_init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("training_jobs.py")),
                   self.kind, self.job, str(self.threads), str(self.size), self.clock]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> None:
        """One step more. Engine's side tells of a step when the next begins."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"benchmark: {self.kind} {self.job} failed")
        loaded: dict[str, Any] = json.loads(line)
        self.seconds.append(loaded["seconds"])
        self.losses.append(loaded["loss"])
        self.peak_mb = loaded["peak_mb"]

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()


def compare(job: str, options: Namespace, plain_steps: int, own_steps: int) -> tuple[Side, Side]:
    """Steps in turn: each of the plain loop, then its share of Engine's."""
    how = (job, options.threads, options.batch_size, options.clock)
    slow, fast = Side("plain", *how), Side("ours", *how)
    try:
        for step in range(plain_steps):
            slow.step()
            until = own_steps * (step + 1) // plain_steps
            while len(fast.seconds) < until:
                fast.step()
    finally:
        slow.stop()
        fast.stop()
    return slow, fast


def figures(slow: Side, fast: Side, epoch: int) -> dict[str, float]:
    """Ratios of samples a second, of memory, and the largest difference of the losses."""
    usual = statistics.median(slow.seconds)
    return {
        "ratio": usual / statistics.median(fast.seconds[epoch:]),
        "first_epoch": usual / statistics.mean(fast.seconds[:epoch]),
        "loss_difference": max(
            abs(a - b) for a, b in zip(slow.losses, fast.losses, strict=False)
        ),
        "memory_ratio": fast.peak_mb / slow.peak_mb,
    }  # fmt: skip


def floor_seconds(threads: int, rounds: int, batch: int, clock: str) -> float:
    """Seconds of the matrix products that stage 1 cannot do without, forward and backward.

    Two whole blocks over the tokens of a batch without padding; of the last one keys and values for
    every token and the rest at one place a row; both projections; the logits.
    """
    import torch
    from training_jobs import job_named, make

    torch.set_num_threads(threads)
    _, _, rows, _ = make(job_named("stage1", batch))
    tokens, width, joint = len(rows.table.ids) * batch // len(rows), 768, 1024
    block = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    last = [(width, width), (width, width), (width, 4 * width), (4 * width, width)]
    shapes = [(tokens, *one) for one in 2 * block] + [(tokens, width, 2 * width)]
    shapes += [(batch, *one) for one in last]
    shapes += [(batch, 512, joint), (batch, 768, joint), *2 * [(batch, joint, joint)]]
    shapes += [(batch, joint, batch)]
    ready = [(torch.randn(m, k), torch.randn(k, n), torch.randn(m, n)) for m, k, n in shapes]

    def products() -> None:
        for x, w, g in ready:
            _ = x @ w
            _ = g @ w.T
            _ = x.T @ g

    now = time.process_time if clock == "cpu" else time.perf_counter
    return min(timed(products, now) for _ in range(rounds + 1))


def timed(job: Callable[[], None], now: Callable[[], float]) -> float:
    """Seconds of one call."""
    start = now()
    job()
    return now() - start


def main() -> None:
    """Measure and print."""
    import torch

    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain-steps", type=int, default=3, help="of the slow loop (3)")
    parser.add_argument("--own-steps", type=int, default=8, help="of Engine's (8)")
    parser.add_argument("--free-steps", type=int, default=24, help="of the overhead's both (24)")
    parser.add_argument("--batch-size", type=int, default=256, help="of stages 1 and 2 (256)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: seconds of the processes, for a machine that does other work (with --threads 1)",
    )  # fmt: skip
    options = parser.parse_args()
    table = Table(
        title=f"batch {options.batch_size}, {options.threads} threads, {options.clock}, in turn"
    )
    for column in ("stage", "plain s/step", "Engine, first epoch", "later", "ratio", "memory",
                   "loss differs by"):  # fmt: skip
        table.add_column(column, justify="left" if column == "stage" else "right")
    found: dict[str, dict[str, float]] = {}
    later: dict[str, float] = {}
    for stage in ("stage1", "stage2"):
        slow, fast = compare(stage, options, options.plain_steps, options.own_steps)
        found[stage] = now = figures(slow, fast, 2)
        later[stage] = statistics.median(fast.seconds[2:])
        table.add_row(
            stage, f"{statistics.median(slow.seconds):.2f}",
            f"{statistics.mean(fast.seconds[:2]):.2f}", f"{later[stage]:.2f}",
            f"{now['ratio']:.1f}", f"{fast.peak_mb:,.0f} / {slow.peak_mb:,.0f} MB",
            f"{now['loss_difference']:.1e}",
        )  # fmt: skip
    slow, fast = compare("free", options, options.free_steps, options.free_steps)
    pairs = list(zip(fast.seconds, slow.seconds, strict=True))[4:]
    overhead = statistics.median(a / b for a, b in pairs) - 1
    floor = floor_seconds(options.threads, options.rounds, options.batch_size, options.clock)
    Console().print(table)
    print(f"the matrix products that remain of stage 1: {floor:.2f} s"
          f" (Engine is at {later['stage1'] / floor:.2f} times that)")  # fmt: skip
    print(f"overhead of the loop with nothing frozen: {100 * overhead:+.1f} %")
    finish(
        options.json,
        {
            "stage1_ratio": found["stage1"]["ratio"],
            "stage2_ratio": found["stage2"]["ratio"],
            "first_epoch": found["stage1"]["first_epoch"],
            "loss_difference": max(one["loss_difference"] for one in found.values()),
            "memory_ratio": max(one["memory_ratio"] for one in found.values()),
            "overhead": overhead,
            "batch_size": options.batch_size,
            "floor_ratio": found["stage1"]["ratio"] * later["stage1"] / floor,
        },
    )


if __name__ == "__main__":
    main()

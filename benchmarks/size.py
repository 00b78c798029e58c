"""What ``engine size`` of the largest shipped config costs, though the model has over 1 GB.

The ratio is the model's bytes over the command's peak memory. The targets are 3 seconds and 700 MB.
Beside it: the same answer through PyTorch's meta device (``--meta``), which is how a plugin without
a plan of its own is counted.
"""

from __future__ import annotations

import json
import statistics
import subprocess

from measure import ROOT, arguments, engine_command, finish, run_process
from rich.console import Console
from rich.table import Table


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    engine = engine_command()
    configs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.yaml"))
    answer = subprocess.run(
        [engine, "size", *configs, "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sizes = [model["bytes"] for model in json.loads(answer.stdout)["models"]]
    largest, weight = max(zip(configs, sizes, strict=True), key=lambda pair: pair[1])
    table = Table(title=f"engine size {largest} ({weight:,} bytes)")
    for name in ("way", "seconds (median)", "peak MB"):
        table.add_column(name, justify="left" if name == "way" else "right")
    figures: dict[str, tuple[float, float]] = {}
    for way, extra in (("plans", []), ("meta device", ["--meta"])):
        runs = [run_process([engine, "size", largest, *extra]) for _ in range(options.rounds)]
        seconds = statistics.median(run.seconds for run in runs)
        figures[way] = seconds, max(run.peak_mb for run in runs)
        table.add_row(way, f"{seconds:.2f}", f"{figures[way][1]:.0f}")
    Console().print(table)
    seconds, peak = figures["plans"]
    finish(
        options.json,
        {
            "ratio": weight / (peak * 1e6),
            "model_bytes": weight,
            "seconds": seconds,
            "peak_mb": peak,
            "meta_seconds": figures["meta device"][0],
            "meta_peak_mb": figures["meta device"][1],
        },
    )


if __name__ == "__main__":
    main()

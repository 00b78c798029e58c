"""How long ``engine --help`` takes, beside the libraries that any such tool must import.

The ratio is its time over that of ``python -c "import pydantic, yaml, rich"``: the median of the
pairs of several rounds. The target is at most 3.
"""

from __future__ import annotations

import statistics
import sys

from measure import arguments, engine_command, finish, in_turn, median_ratio, run_process
from rich.console import Console
from rich.table import Table

REFERENCE = [sys.executable, "-c", "import pydantic, yaml, rich"]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    engine = engine_command()
    commands = {
        "import pydantic, yaml, rich": REFERENCE,
        "engine --help": [engine, "--help"],
        "engine plugins": [engine, "plugins"],
        "engine schema": [engine, "schema"],
    }
    times = in_turn(
        options.rounds, *(lambda c=c: run_process(c).seconds for c in commands.values())
    )
    ratios = [median_ratio(own, times[0]) for own in times]
    table = Table(title="start-up, whole processes")
    for name in ("command", "seconds (median)", "ratio"):
        table.add_column(name, justify="left" if name == "command" else "right")
    for name, own, ratio in zip(commands, times, ratios, strict=True):
        table.add_row(name, f"{statistics.median(own):.3f}", f"{ratio:.2f}")
    Console().print(table)
    finish(
        options.json,
        {"ratio": ratios[1], "plugins_ratio": ratios[2], "schema_ratio": ratios[3], "target": 3},
    )


if __name__ == "__main__":
    main()

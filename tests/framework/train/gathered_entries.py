"""Run by test_entries.py, twice: gathers entries whose texts are of another length in each process.

python gathered_entries.py RANK PORT FOLDER
"""

from __future__ import annotations

import os
import sys

import torch

from engine.train.distribution import Processes


def main(rank: int, port: str, folder: str) -> None:
    """Gather as one of two processes, and save what came of it."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    processes = Processes()
    processes.start(torch.device("cpu"))
    rows, length = rank + 1, 3 + 2 * rank
    hidden = torch.full((rows, length, 2), float(rank + 1), requires_grad=True)
    state = {
        "text.hidden": hidden,
        "text.mask": torch.ones(rows, length, dtype=torch.bool),
        "text.id": torch.arange(rows) + 10 * rank,
        "text.pooled": torch.full((rows, 4), float(rank)),
    }
    whole, _ = processes.gather(state, [1, 2])
    (whole["text.hidden"] * torch.arange(3.0)[:, None, None]).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    found = {name: tensor.detach() for name, tensor in whole.items()}
    torch.save({**found, "grad": hidden.grad}, f"{folder}/{rank}.pt")
    processes.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])

"""Run by test_reducer.py in several processes: gradients of a small model, summed in buckets.

python reduced_gradients.py RANK COUNT PORT FOLDER
"""

from __future__ import annotations

import os
import sys

import torch
from torch import Tensor, nn

from engine.contracts.training import Loss
from engine.contracts.training_settings import LossSettings
from engine.train.distribution import Processes
from engine.train.objective import Objective
from engine.train.reducer import Reduced, Reducer
from engine.train.step import clip_gradients, gradient_norm

ROWS = 7


class Whole(Loss):
    """Needs the whole batch, and has a parameter of its own."""

    reads = frozenset({"image.embedding", "text.embedding", "scale"})

    def __init__(self) -> None:
        super().__init__(LossSettings())
        self.factor = nn.Parameter(torch.tensor(1.5))

    def terms(self, batch: dict[str, Tensor]) -> Tensor:
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T
        return self.factor * logits.log_softmax(dim=1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return -self.terms(batch).diagonal().mean()


class Apart(Whole):
    """The same, by rows."""

    by_rows = True

    def part(self, batch: dict[str, Tensor], own: slice) -> Tensor:  # type: ignore[override]
        return -self.terms(batch).diagonal()[own].sum() / ROWS


class Model(nn.Module):
    """Two towers: a table with sparse gradients, a layer that nothing uses, one used twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 6, sparse=True)
        self.image = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6))
        self.twice, self.unused = nn.Linear(6, 6), nn.Linear(6, 6)
        self.sometimes = nn.Linear(6, 6)
        self.logit_scale = nn.Parameter(torch.tensor(0.7))
        self.logit_bias = None

    def entries(self, rows: Tensor) -> dict[str, Tensor]:
        ids, pixels = (rows * 3) % 11, torch.sin(rows[:, None] * torch.arange(1.0, 6.0))
        text = self.table(ids)
        if bool((rows == 0).any()):  # in the process of row 0 alone
            text = torch.where(rows[:, None] == 0, text + self.sometimes(text), text)
        return {
            "image.embedding": self.twice(self.image(pixels)),
            "text.embedding": self.twice(text),
        }

    def towers(self) -> list[nn.Parameter]:
        return [p for name, p in reversed([*self.named_parameters()]) if name != "logit_scale"]


def main(rank: int, count: int, port: str, folder: str) -> None:
    """Four steps with gradients in passes; saves gradients, losses and counts."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": "0",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    torch.set_num_threads(1)
    processes = Processes()
    processes.start(torch.device("cpu"))
    model, found = Model(), dict[str, Tensor]()
    objective = Objective(model, {"whole": Whole(), "apart": Apart()}, processes)  # type: ignore[arg-type]
    same, parts = objective.parameters()
    reduced = Reduced(model.towers(), same, parts)
    for overlap in (True, False):
        reducer = Reducer(processes, reduced, overlap=overlap, bucket_bytes=200)
        for step, first in enumerate((0, ROWS, 2 * ROWS, 0)):
            model.zero_grad()
            for loss in objective.losses.values():
                loss.zero_grad()
            rows = torch.arange(ROWS) + first
            own = processes.shard(rows)
            shares = processes.all_gather(len(own))[:, 0].tolist()
            reducer.begin()
            again = 1e-3 * len(own) * model.image(torch.ones(1, 5)).sum()  # a pass before the last
            again.backward()
            whole = objective(model.entries(own), shares)
            # In the second step it is not true: gradients then come to what is on its way.
            reducer.last_pass(model.towers()[:-4] if step == 1 else None)
            whole.total.backward()  # type: ignore[no-untyped-call]
            late = 1e-3 * len(own) * model.image[2](torch.ones(1, 8)).sum()  # after it
            late.backward()
            sums = reducer.finish(objective.to_sum(whole.losses))
            losses = whole.losses if sums is None else objective.summed(whole.losses, sums)[1]
            name = f"{overlap}.{step}"
            norm = gradient_norm([p for p in model.parameters() if p.grad is not None])
            clip_gradients([*model.parameters()], 0.5, norm)
            everything = [*model.named_parameters(),
                          *((f"{n}.{k}", p) for n, m in objective.losses.items()
                            for k, p in m.named_parameters())]  # fmt: skip
            for key, parameter in everything:
                if parameter.grad is not None:
                    dense = (
                        parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                    )
                    found[f"{name}.{key}"] = dense.clone()
            found |= {f"{name}.loss.{key}": value.detach() for key, value in losses.items()}
            found[f"{name}.norm"] = norm
            found[f"early.{name}"] = torch.tensor(reducer.early)
        reducer.close()
    torch.save(found, f"{folder}/{count}.{rank}.pt")
    processes.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

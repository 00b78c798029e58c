"""Losses of a router that sends each text to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts import Loss
from engine_plugins.losses.settings import RouterSettings


class Router(Loss):
    """Cross-entropy of ``text.router_logits`` [N, K] against ``cluster`` [N]; -1 is left out.

    Source: github.com/SkylarPro/YandexCupCV, the contest entry's own loss on its router.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"text.router_logits", "cluster"})
    settings: RouterSettings

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        logits, cluster = batch["text.router_logits"], batch["cluster"]
        known = cluster >= 0
        total = functional.cross_entropy(
            logits,
            cluster,
            ignore_index=-1,
            reduction="sum",
            label_smoothing=self.settings.smoothing,
        )
        return total / known.sum().clamp(min=1)


class Balance(Loss):
    """``K sum over clusters k of f_k P_k``; 1 where texts spread evenly, K where all go to one.

    f_k is the share of texts whose first choice is k, P_k the mean of their probabilities for k.
    Source: Switch Transformer (Fedus et al., 2021, arXiv:2101.03961, equation 4).
    """

    reads: ClassVar[frozenset[str]] = frozenset({"text.router_logits"})

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        logits = batch["text.router_logits"]
        count = logits.shape[1]
        # Not bincount: on a GPU it waits for the device, to learn the largest of its numbers.
        ones = torch.ones(len(logits), device=logits.device)
        counts = ones.new_zeros(count).index_add(0, logits.argmax(dim=1), ones)
        chosen = counts / len(logits)
        return count * (chosen * logits.softmax(dim=1).mean(dim=0)).sum()

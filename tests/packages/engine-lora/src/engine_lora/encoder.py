"""`lora_rubert`: RuBERT of which low-rank adapters alone are trained.

Train with ``trains: {text: false, parameters: ["text.*lora_*"]}``.
Source: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine_plugins.text.bert import BertText

from .settings import LoraBertSettings


class LoraLinear(nn.Linear):
    """``x W' + b`` with W + alpha / rank * B A in the place of W; B begins as zeros.

    Args:
        plain: the layer whose weight and bias it takes over.
        rank: of the adapter.
        alpha: see :class:`LoraBertSettings`.
    """

    lora_A: nn.Parameter | None
    lora_B: nn.Parameter | None

    def __init__(self, plain: nn.Linear, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = plain.weight, plain.bias
        first = torch.empty(rank, self.in_features)
        self.lora_A = nn.Parameter(nn.init.normal_(first, std=rank**-0.5))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank))
        self._factor = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        out = functional.linear(x, self.weight, self.bias)
        if self.lora_A is None or self.lora_B is None:
            return out
        low = functional.linear(functional.linear(x, self.lora_A), self.lora_B)
        return out + self._factor * low

    def merge(self) -> None:
        """Fold the adapter into the weight; the layer is a plain one afterwards."""
        if self.lora_A is None or self.lora_B is None:
            return
        with torch.no_grad():
            self.weight += self._factor * (self.lora_B @ self.lora_A)
        self.lora_A = self.lora_B = None


class LoraBert(BertText):
    """RuBERT; its queries and values have adapters, which train by their names."""

    settings: LoraBertSettings

    def __init__(self, settings: LoraBertSettings) -> None:
        super().__init__(settings)
        for block in self.blocks:
            attention = block.attention.self
            for name in ("query", "value"):
                plain = cast("nn.Linear", getattr(attention, name))
                setattr(attention, name, LoraLinear(plain, settings.rank, settings.alpha))

    def merge(self) -> None:
        """See the contract."""
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.merge()

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a plain RuBERT's weights; the adapters stay what they are."""
        own = super().adapt(weights)
        if not any("lora_" in name for name in own):
            own |= {name: t for name, t in self.state_dict().items() if "lora_" in name}
        return own

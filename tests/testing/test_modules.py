from __future__ import annotations

import torch
from torch import nn

from engine.testing.modules import plain_tensors


class Keeps(nn.Module):
    """A recurrent layer, whose own list of its weights is fine, and a tensor that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(4, 4)
        self.lost = torch.zeros(3)


def test_a_list_of_registered_tensors_is_no_plain_tensor() -> None:
    whole = Keeps()
    assert list(plain_tensors(whole.recurrent, whole)) == []
    assert [name for name, _ in plain_tensors(whole, whole)] == ["lost"]

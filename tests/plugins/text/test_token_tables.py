"""Token tables in two factors: the nearest product, and plans of every encoder with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.contracts import PluginRef
from engine.core.size import plan_of_module
from engine_plugins.text.token_tables import FactoredTable, factors, with_factors

MakeUse = Callable[..., PluginRef]
SMALL: dict[str, dict[str, Any]] = {
    "rubert": {"width": 32, "layers": 1, "heads": 4, "n_positions": 16, "max_tokens": 8},
    "xlm_roberta": {"width": 32, "layers": 1, "heads": 4, "n_positions": 18, "max_tokens": 8},
    "gpt3small": {"width": 32, "layers": 1, "heads": 4, "n_positions": 16, "max_tokens": 8},
    "bpe_transformer": {"width": 32, "layers": 1, "heads": 4, "max_tokens": 8},
    "nllb": {"width": 32, "layers": 1, "heads": 4, "max_tokens": 8},
    "static": {"width": 32, "max_tokens": 8},
}


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_factors_are_the_nearest_by_numpys_svd(rank: int) -> None:
    torch.manual_seed(rank)
    table = torch.randn(300, 16) @ torch.randn(16, 16)
    rows, basis = factors(table, rank)
    assert rows.shape == (300, rank)
    assert basis.shape == (16, rank)
    left, values, right = np.linalg.svd(table.double().numpy(), full_matrices=False)
    nearest = (left[:, :rank] * values[:rank]) @ right[:rank]
    np.testing.assert_allclose((rows @ basis.T).numpy(), nearest, atol=2e-4)


def test_a_look_up_is_the_row_of_the_product() -> None:
    torch.manual_seed(0)
    table = FactoredTable(50, 12, 3)
    ids = torch.tensor([[0, 49], [7, 7]])
    whole = table.rows.weight @ table.basis.weight.T
    torch.testing.assert_close(table(ids), whole[ids])


@pytest.mark.parametrize("use", SMALL)
def test_the_plan_is_the_module(use: str, make_use: MakeUse) -> None:
    made = make_use("text_encoder", use, vocab_size=100, table_rank=8, **SMALL[use])
    tower = made.create()
    plan = made.settings.plan()
    assert plan.tensors == plan_of_module(tower)
    names = [name for name in plan.tensors if name.endswith((".rows.weight", ".basis.weight"))]
    assert sorted(plan.tensors[name].shape for name in names) == [(32, 8), (100, 8)]
    parameters = {id(p) for segment in tower.segments() for p in segment.parameters()}
    assert parameters == {id(p) for p in tower.parameters()}


@pytest.mark.parametrize("use", SMALL)
def test_weights_of_a_whole_table_become_factors(use: str, make_use: MakeUse) -> None:
    """With as many numbers as the width nothing is lost, so the features are the same."""
    torch.manual_seed(3)
    whole = make_use("text_encoder", use, vocab_size=100, **SMALL[use]).create().eval()
    cut = make_use("text_encoder", use, vocab_size=100, table_rank=32, **SMALL[use]).create().eval()
    cut.load_weights(whole.state_dict(), "the other")
    state = {"ids": torch.randint(0, 100, (4, 6)), "mask": torch.ones(4, 6, dtype=torch.bool)}
    with torch.no_grad():
        torch.testing.assert_close(
            cut(state)["pooled"], whole(state)["pooled"], atol=1e-5, rtol=1e-4
        )


def test_factors_stay_factors() -> None:
    own = {"t.rows.weight": torch.ones(3, 1), "t.basis.weight": torch.ones(2, 1)}
    assert with_factors(own, "t", 1) == own
    assert with_factors({"t.weight": own["t.rows.weight"]}, "t", None).keys() == {"t.weight"}

"""A device is found by its name, or refused in words that say what there is."""

from __future__ import annotations

import pytest
import torch

from engine.core.devices import find_device, there
from engine.errors import DataError, TrainingError
from engine.train.device import choose_device


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, as far as PyTorch can be made to believe it."""
    real = torch.empty

    def empty(*shape: int, device: torch.device) -> torch.Tensor:
        if device.type == "cuda":
            if (device.index or 0) >= 2:
                raise RuntimeError("invalid device ordinal")
            device = torch.device("cpu")
        return real(*shape, device=device)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cuda:-1", "", "meta", "tpu:0", "cpu cpu"])
def test_what_is_not_there_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(DataError, match=f"device `{name}`") as caught:
        find_device(name)
    assert "cpu" in str(caught.value.hint)


def test_auto_takes_what_is_there() -> None:
    assert find_device("auto").type in {name.partition(":")[0] for name in there()}


@pytest.mark.parametrize(
    ("name", "rank", "found"),
    [("auto", 1, "cuda:1"), ("cuda", 0, "cuda:0"), ("cuda:1", 0, "cuda:1"), ("cpu", 1, "cpu")],
)
def test_a_process_takes_its_own_card(cards: None, name: str, rank: int, found: str) -> None:
    assert str(choose_device(name, rank)) == found


def test_a_card_that_is_missing_ends_training_in_one_sentence(
    cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"train.device: device `cuda:2`") as caught:
        choose_device("cuda:2", 0)
    assert "cuda:0, cuda:1" in str(caught.value.hint)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="one GPU, and several processes"):
        choose_device("cuda:1", 0)

"""Towers whose rows see each other in training: BatchNorm over processes, and what is refused."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.core.build import Built
from engine.core.config.schema import EngineConfig
from engine.errors import ConfigError
from engine.train.batch_norm import SharedStatistics
from engine.train.plan import plan_stages
from engine.train.stages import freeze, mixes_rows, mixing

from .conftest import Run

Make = Callable[..., EngineConfig]
BAG = (
    "model.text={use: bag_of_tokens, width: 16, layers: 3, vocab_size: 400, max_tokens: 15,"
    " tokenizer: {use: trained}}"
)
RESNET = "model.vision={use: timm, arch: test_resnet, image_size: 32}"
EFFICIENT = "model.vision={use: timm, arch: test_efficientnet, image_size: 32}"
VIT = "model.vision={use: timm, arch: test_vit2, image_size: 32}"


class Centred(nn.Module):
    """A layer that takes the mean over rows off while it trains."""

    mixes_rows = True

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0, keepdim=True) if self.training else x


def declared(built: Built) -> None:
    built.model.text.mixes_rows = True


def layer(built: Built) -> None:
    built.model.text.h[3].centred = Centred()  # type: ignore[index, union-attr]


def projection(built: Built) -> None:
    built.model.text_projection.norm = nn.BatchNorm1d(16)


@pytest.mark.parametrize(
    ("model", "tower", "expected"),
    [(BAG, "text", "batch_norm"), (RESNET, "vision", "batch_norm"),
     (EFFICIENT, "vision", "batch_norm"), (VIT, "vision", False)],
    ids=["bag", "resnet", "efficientnet", "vit"],
)  # fmt: skip
def test_batch_norm_is_declared_and_found(
    make_config: Make, trained: Run, model: str, tower: str, expected: object
) -> None:
    trainer, _ = trained(make_config(model), run=False)
    part = getattr(trainer.model, tower)
    assert part.mixes_rows == expected
    part.train()
    assert mixing(part) == expected
    assert mixes_rows(part, 0) == bool(expected)
    assert not mixes_rows(part, len(part.segments()))
    part.eval()
    assert mixing(part) is False


def test_only_what_trains_mixes(make_config: Make, trained: Run) -> None:
    trainer, _ = trained(make_config(), change=layer, run=False)
    model = trainer.model
    stage = trainer.parts.plan.stages[0]
    freeze(model, stage.trains, "here")
    assert mixing(model.text) is True
    assert mixing(model.vision) is False
    assert mixes_rows(model.text, 4)
    assert not mixes_rows(model.text, 5)


@pytest.mark.parametrize(
    ("overrides", "change", "words"),
    [
        ([], declared, "the text tower mixes the rows of a batch in training"),
        ([], layer, "the text tower mixes the rows of a batch in training"),
        ([], projection, "the text projection trains BatchNorm"),
        ([BAG, "train.compile=true"], None, "compiled, it cannot take its statistics"),
        ([RESNET, "train.compile=true", "train.stages.0.trains={vision: true}"], None,
         "the vision tower trains BatchNorm"),
        (["train.stages.0.batch_size=3"], None, "3 rows are too few for 4 processes"),
    ],
)  # fmt: skip
def test_what_processes_cannot_do_alike_is_refused_before_a_step(
    make_config: Make, trained: Run, overrides: list[str], change: Any, words: str
) -> None:
    config = make_config(*overrides)
    trainer, _ = trained(config, change=change or (lambda built: None), run=False)
    plan_stages(trainer.parts.plan, trainer.data, trainer.model)  # one process can
    with pytest.raises(ConfigError, match=words) as caught:
        plan_stages(trainer.parts.plan, trainer.data, trainer.model, 4)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("overrides", "change"),
    [([BAG], None), ([RESNET, "train.stages.0.trains={vision: true}"], None),
     ([VIT, "train.compile=true"], None),
     (["train.stages.0.trains={text: {blocks: [2]}}"], layer)],
)  # fmt: skip
def test_what_processes_can_do_alike_is_not_refused(
    make_config: Make, trained: Run, overrides: list[str], change: Any
) -> None:
    config = make_config(*overrides)
    trainer, _ = trained(config, change=change or (lambda built: None), run=False)
    plan_stages(trainer.parts.plan, trainer.data, trainer.model, 4)


@pytest.mark.parametrize("change", [declared, layer])
def test_a_declared_tower_is_kept_whole(make_config: Make, trained: Run, change: Any) -> None:
    sizes: list[int] = []

    def watched(built: Built) -> None:
        change(built)
        real = built.model.text.run

        def run(state: Any, start: int, stop: int, **more: Any) -> Any:
            if torch.is_grad_enabled():
                sizes.append(len(next(iter(state.values()))))
            return real(state, start, stop, **more)

        built.model.text.run = run  # type: ignore[method-assign]

    _, heard = trained(make_config(), change=watched)
    assert sizes == [16] * 6
    assert ("segments computed once" in heard.notes[0].partition("text:")[2]) == (change is layer)
    with pytest.raises(ConfigError, match="cannot be computed in chunks"):
        trained(make_config("train.stages.0.chunk_size=4"), change=change)


# ---- the statistics themselves -----------------------------------------------------------------


def test_statistics_and_gradients_are_those_of_one_process() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("shared_statistics.py")
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(port)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in started:
            process.kill()


def test_other_operations_are_left_alone() -> None:
    x = torch.randn(3, 4)
    with SharedStatistics():
        assert torch.equal(functional.layer_norm(x, [4]), functional.layer_norm(x, [4]))
        assert torch.equal(functional.linear(x, x), x @ x.T)

"""The logit scale at its limit, and everything that a stage does not train."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from engine.core.config.schema import EngineConfig
from engine.train.step import StepOutput

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
BAG = (
    "model.text={use: bag_of_tokens, width: 16, layers: 3, vocab_size: 400, max_tokens: 15,"
    " tokenizer: {use: trained}}"
)
LOSSES = ["contrastive", "sigmoid"]


def loss_of(name: str, batch: dict[str, torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
    """The loss written out, of embeddings and a scale."""
    logits = scale * batch["image.embedding"] @ batch["text.embedding"].T
    right = torch.arange(len(logits))
    if name == "contrastive":
        images, texts = (functional.cross_entropy(some, right) for some in (logits, logits.T))
        return (images + texts) / 2
    signs = 2 * torch.eye(len(logits)) - 1
    return -functional.logsigmoid(signs * (logits - 10.0)).sum() / len(logits)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("maximum", [1.0, 20.0, 100.0])
@pytest.mark.parametrize("start", [-1.0, 0.0, math.log(20), 4.6052, 5.5])
def test_the_loss_sees_the_whole_scale_with_its_whole_gradient(
    make_config: Make, trained: Run, loss: str, maximum: float, start: float
) -> None:
    config = make_config(
        f"model.logit_scale={start}", f"train.max_scale={maximum}", "train.stages.0.epochs=1",
        f"train.stages.0.losses=[{{use: {loss}}}]", "train.stages.0.optimizer.use=adam",
    )  # fmt: skip
    trainer, _ = trained(config, run=False)
    real, seen = trainer._apply, []

    def apply(stage: object, measured: StepOutput, rows: object) -> None:
        parameter = trainer.model.logit_scale
        own = parameter.detach().clone().requires_grad_()
        loss_of(loss, measured.batch, own.exp()).backward()
        if not seen:  # the loss's own bias has moved afterwards
            assert float(measured.batch["scale"]) == pytest.approx(math.exp(start), rel=1e-6)
            assert parameter.grad is not None
            assert own.grad is not None
            assert float(own.grad) != 0
            assert float(parameter.grad) == pytest.approx(float(own.grad), rel=1e-4, abs=1e-7)
        seen.append(float(parameter.detach()))
        real(stage, measured, rows)  # type: ignore[arg-type]
        assert float(parameter.detach()) <= math.log(maximum) + 1e-6

    trainer._apply = apply  # type: ignore[method-assign, assignment]
    trainer.run()
    assert len(seen) == 3
    assert seen[0] == pytest.approx(start)


@pytest.mark.parametrize("start", [4.6052, math.log(100), 9.0])
def test_a_scale_that_starts_at_its_limit_can_fall(
    make_config: Make, trained: Run, start: float
) -> None:
    config = make_config(
        f"model.logit_scale={start}", "train.stages.0.optimizer.lr=0.05",
        "train.stages.0.trains={text: {blocks: last 1}}",
        "train.stages.0.losses=[{use: sigmoid}]",
    )  # fmt: skip
    trainer, _ = trained(config)
    assert float(trainer.model.logit_scale.detach()) < math.log(100) - 0.01


@pytest.mark.parametrize("start", [-2.0, 4.6052, 7.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_scale_that_the_stage_does_not_train_keeps_every_bit(
    make_config: Make, trained: Run, start: float, loss: str
) -> None:
    config = make_config(
        f"model.logit_scale={start}", f"train.stages.0.losses=[{{use: {loss}}}]",
        "train.stages.0.trains={text: {blocks: last 1}, logit_scale: false}",
    )  # fmt: skip
    trainer, heard = trained(config)
    assert torch.equal(trainer.model.logit_scale.detach(), torch.tensor(start))
    assert heard.values[-1][1]["scale"] == pytest.approx(math.exp(start), rel=1e-6)


STAGES: dict[str, tuple[str, ...]] = {
    "{vision: true, text: false}": (
        "vision.", "vision_projection.", "text_projection.", "logit_scale",
    ),
    "{text: {blocks: last 1}}": (
        "text.blocks.2", "vision_projection.", "text_projection.", "logit_scale",
    ),
    "{text: {blocks: [1]}, text_projection: false, logit_scale: false}": (
        "text.blocks.1", "vision_projection.",
    ),
    "{vision_projection: false, text: false}": ("text_projection.", "logit_scale"),
    "{text: {embeddings: true, blocks: none}, vision_projection: false, text_projection: false,"
    " logit_scale: false}": ("text.embedding",),
}  # fmt: skip


@pytest.mark.parametrize("trains", STAGES)
def test_what_a_stage_does_not_train_keeps_every_bit(
    make_config: Make, trained: Run, trains: str
) -> None:
    """BatchNorm's running statistics and the scale above its limit among it."""
    config = make_config(
        BAG, f"train.stages.0.trains={trains}", "model.logit_scale=6", "train.max_scale=50",
        "train.stages.0.optimizer.weight_decay=0.1",
    )  # fmt: skip
    trainer, _ = trained(config, evaluator=lambda: {"accuracy": 1.0})
    fresh, _ = trained(config, run=False)
    before, after = weights(fresh), weights(trainer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert {name for name in changed if not name.startswith(STAGES[trains])} == set()


def test_a_losss_own_parameters_outlive_a_stage_without_it(make_config: Make, trained: Run) -> None:
    def stage(name: str, loss: str, epochs: int = 1) -> str:
        return (
            f"{{name: {name}, trains: {{text: {{blocks: last 1}}}}, epochs: {epochs},"
            f" batch_size: 16, losses: [{{use: {loss}}}], optimizer: {{use: adamw, lr: 0.01}}}}"
        )

    stages = ", ".join([stage("a", "sigmoid"), stage("b", "contrastive"), stage("c", "sigmoid")])
    trainer, _ = trained(make_config(f"train.stages=[{stages}]"), run=False)
    begins: list[float] = []
    real = trainer._apply

    def apply(run: object, measured: StepOutput, rows: object) -> None:
        if trainer.state.at.stage_step == 0 and "sigmoid" in trainer.stage.losses:  # type: ignore[union-attr]
            begins.append(float(trainer.stage.losses["sigmoid"].bias.detach()))  # type: ignore[union-attr]
        real(run, measured, rows)  # type: ignore[arg-type]

    trainer._apply = apply  # type: ignore[method-assign, assignment]
    ends: list[float] = []
    end = trainer._end_stage

    def end_stage(run: object) -> None:
        end(run)  # type: ignore[arg-type]
        ends.append(float(trainer.state.losses["sigmoid"]["bias"]))

    trainer._end_stage = end_stage  # type: ignore[method-assign, assignment]
    trainer.run()
    assert begins[0] == -10
    assert ends[0] == ends[1] == begins[1] != begins[0]
    assert ends[2] != ends[1]

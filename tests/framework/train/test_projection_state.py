"""What a projection reads of the state and what it adds to it: checked, trained or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.contracts import Projection, State
from engine.contracts.projection import project_state
from engine.contracts.state import is_by_row
from engine.core.build import Built
from engine.core.config.schema import EngineConfig
from engine.errors import PluginError
from engine_plugins.projections.simple import Residual

from .conftest import Run

Make = Callable[..., EngineConfig]
TOWERS = ["vision", "text"]


def adding(name: str, value: Callable[[State], Tensor]) -> type[Residual]:
    """A projection that adds one more entry."""

    class Adding(Residual):
        def forward(self, state: State) -> State:
            return {**super().forward(state), name: value(state)}

    return Adding


def reading(name: str, *, declared: bool) -> type[Residual]:
    """A projection that reads one more entry."""

    class Reading(Residual):
        reads = frozenset({name}) if declared else frozenset()

        def forward(self, state: State) -> State:
            assert len(state[name])
            return super().forward(state)

    return Reading


def become(kind: type[Residual], tower: str) -> Callable[[Built], None]:
    def change(built: Built) -> None:
        getattr(built.model, f"{tower}_projection").__class__ = kind

    return change


ADDED: dict[str, Callable[[State], Tensor]] = {
    "a number": lambda state: state["pooled"].mean(),
    "a whole number": lambda state: torch.tensor(3),
    "a list of another length": lambda state: torch.zeros(len(state["pooled"]) + 1),
    "a table without rows": lambda state: torch.zeros(0, 4),
    "a row for each": lambda state: state["pooled"].mean(dim=1),
    "a flag for each": lambda state: state["pooled"].mean(dim=1) > 0,
}


@pytest.mark.parametrize("what", list(ADDED))
@pytest.mark.parametrize("tower", TOWERS)
def test_training_goes_on_with_whatever_a_projection_adds(
    tower: str, what: str, make_config: Make, trained: Run
) -> None:
    config = make_config("train.stages.0.epochs=1")
    _, plain = trained(config)
    _, recorder = trained(config, change=become(adding("more", ADDED[what]), tower))
    assert recorder.losses == plain.losses


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [(torch.tensor(2.0), False), (torch.zeros(3), True), (torch.zeros(2), False),
     (torch.zeros(3, 4), True), (torch.zeros(0), False), (torch.zeros(1, 3), False)],
)  # fmt: skip
def test_a_row_for_each(tensor: Tensor, expected: bool) -> None:
    assert is_by_row(tensor, 3) is expected


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("name", ["hiden", "embedings", "pixels", "router_logits"])
def test_what_a_side_does_not_give_is_named(
    name: str, tower: str, make_config: Make, trained: Run
) -> None:
    kind = reading(name, declared=True)
    with pytest.raises(PluginError, match=rf"reads `{name}`, which this modality does not give"):
        trained(make_config(), change=become(kind, tower))
    built = little(make_config())
    become(kind, tower)(built)
    with pytest.raises(PluginError, match=rf"reads `{name}`.*it gives .*pooled"):
        answer(built, tower)


@pytest.mark.parametrize(
    ("name", "declared", "fails"),
    [("ids", False, True), ("mask", False, True), ("ids", True, False), ("mask", True, False),
     ("token_embeddings", True, False)],
)  # fmt: skip
def test_what_is_read_is_declared(
    name: str, declared: bool, fails: bool, make_config: Make, trained: Run
) -> None:
    kind = reading(name, declared=declared)
    built = little(make_config())
    become(kind, "text")(built)
    if not fails:
        answer(built, "text")
        trained(make_config("train.stages.0.epochs=1"), change=become(kind, "text"))
        return
    with pytest.raises(PluginError, match=rf"reads `{name}`, which its `reads` does not name"):
        answer(built, "text")
    with pytest.raises(PluginError, match="does not name"):
        trained(make_config(), change=become(kind, "text"))


def test_a_fault_of_the_plugin_s_own_stays_what_it_is() -> None:
    class Broken(Projection):
        def forward(self, state: State) -> State:
            raise KeyError("its own table")

    with pytest.raises(KeyError, match="its own table"):
        project_state(Broken(None, 2, 2), {"pooled": torch.zeros(1, 2)})  # type: ignore[arg-type]


def test_projections_inside_of_one_are_given_what_they_read() -> None:
    from engine.core.registry import default_registry

    registry = default_registry()
    plugin = registry.get("projection", "clustered")
    settings: Any = plugin.load_settings().model_validate(
        {"count": 2, "of": {"use": "residual"}, "router": {"heads": 2}},
        context={"registry": registry},
    )
    Inner = reading("ids", declared=True)
    settings.of.plugin = type("P", (), {"load": lambda self: Inner, "kind": "projection",
                                        "name": "inner"})()  # fmt: skip
    clustered = plugin.load()(settings, 6, 4, embedding_width=6)
    assert clustered.reads == {"token_embeddings", "mask", "ids"}


def little(config: EngineConfig) -> Built:
    from engine.core.build import build

    return build(config)


def answer(built: Built, tower: str) -> Tensor:
    with torch.no_grad():
        if tower == "vision":
            return built.model.encode_image(torch.randn(2, 3, 16, 16))
        ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
        return built.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))

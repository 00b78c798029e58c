"""What training programs put around a state dict is taken off; a state dict keeps its names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from engine.core.weights import read_checkpoint
from engine.core.weights.wrappers import PREFIXES, RESERVED, WRAPPERS, plain_names, state_dict_of
from engine.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


def same(found: dict[str, torch.Tensor], right: dict[str, torch.Tensor] = STATE) -> bool:
    return found.keys() == right.keys() and all(torch.equal(found[k], right[k]) for k in right)


def read(tmp_path: Path, content: object) -> dict[str, torch.Tensor]:
    torch.save(content, tmp_path / "x.pt")
    return read_checkpoint(tmp_path / "x.pt")


def prefixed(*prefixes: str) -> dict[str, torch.Tensor]:
    return {"".join(prefixes) + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_known_entry_is_opened(tmp_path: Path, name: str) -> None:
    content: dict[str, Any] = {"epoch": 3, "loss": torch.tensor(0.5), name: STATE}
    assert same(read(tmp_path, content))
    assert same(read(tmp_path, {"args": {"model": "vit"}, "state_dict": {name: STATE}}))


@pytest.mark.parametrize(
    "content",
    [
        # PyTorch Lightning
        {
            "pytorch-lightning_version": "2.4.0", "global_step": 9, "loops": {}, "callbacks": {},
            "state_dict": prefixed("model."), "optimizer_states": [{"state": {0: STATE}}],
            "lr_schedulers": [], "hyper_parameters": {"width": 3},
        },
        # DeepSpeed
        {
            "module": STATE, "buffer_names": ["b"], "optimizer": None, "param_shapes": [{}],
            "ds_config": {"model": 3}, "ds_version": "0.15",
        },
        # open_clip, compiled and in parallel
        {"epoch": 1, "name": "x", "state_dict": prefixed("module.", "_orig_mod."),
         "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}},
        # timm with averaged weights
        {"arch": "x", "state_dict": STATE, "state_dict_ema": {k: v + 1 for k, v in STATE.items()}},
        {"params": STATE, "params_ema": {k: v + 1 for k, v in STATE.items()}},
        {"model_ema": prefixed("module.")},
        {"ema": {"state_dict": STATE}, "step": 3},
        {"model": {"model_state_dict": {"state_dict": STATE}}},
        {"model": {"width": 3}, "state_dict": STATE},
        {"model": "ViT-B-32", "net": STATE},
    ],
)  # fmt: skip
def test_checkpoints_as_real_programs_lay_them_out(tmp_path: Path, content: object) -> None:
    assert same(read(tmp_path, content))


@pytest.mark.parametrize(
    "prefixes",
    [
        ("module.",), ("model.",), ("_orig_mod.",), ("_forward_module.",),
        ("_orig_mod.", "module."), ("module.", "_orig_mod."), ("module.", "module."),
        ("module.", "model.", "_orig_mod."), ("_fsdp_wrapped_module.",),
        ("model.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."),
    ],
)  # fmt: skip
def test_prefixes_are_taken_off(tmp_path: Path, prefixes: tuple[str, ...]) -> None:
    assert same(read(tmp_path, prefixed(*prefixes)))
    assert same(read(tmp_path, {"model_state_dict": prefixed(*prefixes)}))
    save_file(prefixed(*prefixes), tmp_path / "x.safetensors")
    assert same(read_checkpoint(tmp_path / "x.safetensors"))


def test_reserved_names_are_taken_out_of_the_middle(tmp_path: Path) -> None:
    given = {
        "visual._orig_mod.conv1.weight": torch.ones(1),
        "blocks.0._checkpoint_wrapped_module.attn._fsdp_wrapped_module.q": torch.ones(1),
        "blocks._orig_module.q": torch.ones(1),
    }
    assert set(read(tmp_path, given)) == {
        "visual.conv1.weight", "blocks.0.attn.q", "blocks._orig_module.q"
    }  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ["module.a", "b"],
        ["model.a", "models.b"],
        ["modules.a", "modules.b"],
        ["student.a", "student.b"],
        ["text_model.a", "text_model.b"],
        ["transformer.a", "transformer.b"],
        ["a.module.b", "a.model.c"],
        ["module", "model"],
        ["module."],
    ],
)
def test_names_that_are_the_models_own_stay(tmp_path: Path, names: list[str]) -> None:
    given = {name: torch.ones(1) for name in names}
    assert same(read(tmp_path, given), given)


def test_what_torch_itself_writes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    right = copy.deepcopy(model.state_dict())
    averaged = torch.optim.swa_utils.AveragedModel(model)
    parallel = nn.DataParallel(model)
    for wrapped in (averaged, parallel, nn.DataParallel(averaged)):
        assert same(read(tmp_path, wrapped.state_dict()), right)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"`a._orig_mod.w` and `a.w` are both a.w"):
        read(tmp_path, {"a._orig_mod.w": torch.ones(1), "a.w": torch.ones(1)})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"generator": STATE, "discriminator": STATE}, "`generator`, `discriminator` do: save one"),
        ({"student": STATE, "teacher": STATE, "epoch": 3}, "`student`, `teacher`"),
        ({"state_dict": {}}, "no tensors"),
        ({"state_dict": {"state_dict": {"epoch": 3}}}, "no tensors"),
        ({"model": {"a": torch.ones(1), "epoch": 3}}, "`epoch` is of type int"),
        ([STATE], "of type list"),
        (torch.ones(3), "a single tensor"),
        (3, "of type int"),
        ({}, "empty"),
    ],
)
def test_what_holds_no_state_dict_says_so(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        read(tmp_path, content)


def test_an_endless_nest_ends() -> None:
    tree: dict[str, Any] = {}
    tree["model"] = tree
    with pytest.raises(WeightsError, match="no tensors"):
        state_dict_of(tree, lambda value: False)


@given(
    st.lists(st.sampled_from(PREFIXES), max_size=4),
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "weight", "0"]), min_size=1, max_size=4).map(".".join),
        st.integers(), min_size=1, max_size=5,
    ),
    st.lists(st.sampled_from(RESERVED), max_size=2),
)  # fmt: skip
def test_any_prefixes_on_any_names(
    prefixes: list[str], names: dict[str, int], reserved: list[str]
) -> None:
    """Off comes what was put on; and a second time there is nothing left to take off."""
    before = "".join([*prefixes, *(f"{name}." for name in reserved)])
    found = plain_names({before + name: value for name, value in names.items()})
    assert found == names
    assert plain_names(found) == found

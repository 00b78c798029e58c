"""`gpt3small` against transformers' GPT-2: numbers, names, files old and new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

from engine.contracts import PluginRef, State, last_place, take_place
from engine.core.weights import fetch
from engine.errors import WeightsError
from engine_plugins.text.gpt import GptBlock, GptText

MakeUse = Callable[..., PluginRef]
Wild = Callable[..., Any]
BatchOf = Callable[..., State]

VOCABULARY = 97
SMALL = {"vocab_size": VOCABULARY, "n_positions": 24, "max_tokens": 15, "width": 32, "layers": 3,
         "heads": 4}  # fmt: skip
LENGTHS = [15, 2, 7, 1, 11, 3, 15, 6]


def config_of(numbers: dict[str, Any]) -> GPT2Config:
    width = numbers["width"]
    return GPT2Config(
        vocab_size=numbers["vocab_size"],
        n_positions=numbers["n_positions"],
        n_embd=width,
        n_layer=numbers["layers"],
        n_head=numbers["heads"],
        n_inner=round(width * numbers["mlp_ratio"]) if "mlp_ratio" in numbers else None,
    )


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture
def original(wild: Wild) -> GPT2Model:
    model: GPT2Model = wild(GPT2Model(config_of(SMALL)))
    return model


@pytest.fixture
def tower(make_use: MakeUse) -> GptText:
    return make_use("text_encoder", "gpt3small", **SMALL).create().eval()


@pytest.fixture
def state(batch_of: BatchOf) -> State:
    return batch_of(LENGTHS, VOCABULARY)


def theirs(original: GPT2Model, state: State) -> Tensor:
    """The original's last hidden state where the end mark stands."""
    hidden = original(input_ids=state["ids"], attention_mask=state["mask"].long())
    return take_place(hidden.last_hidden_state, last_place(state["mask"]))


def agree(ours: Tensor, theirs: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    classes = torch.randn(theirs.shape[1], 19, generator=torch.Generator().manual_seed(5))
    answers = [(functional.normalize(x, dim=1) @ classes).argmax(dim=1) for x in (ours, theirs)]
    assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.parametrize(
    "numbers",
    [{}, {"layers": 1, "heads": 1}, {"width": 30, "heads": 3, "mlp_ratio": 1.7, "max_tokens": 24}],
)
def test_the_features_are_the_originals(
    numbers: dict[str, Any], make_use: MakeUse, wild: Wild, batch_of: BatchOf
) -> None:
    chosen = {**SMALL, **numbers}
    original = wild(GPT2Model(config_of(chosen)))
    tower = make_use("text_encoder", "gpt3small", **chosen).create().eval()
    tower.load_weights(original.state_dict(), "the test")
    for seed, lengths in enumerate((LENGTHS, [4], [5, 5, 5], [chosen["max_tokens"], 1])):
        state = batch_of(lengths, VOCABULARY, seed)
        agree(tower(state)["pooled"], theirs(original, state))


@pytest.mark.slow
def test_the_features_are_the_originals_at_full_size(
    make_use: MakeUse, shaken: Callable[..., Any], batch_of: BatchOf
) -> None:
    """ruGPT-3 small's own numbers, which are the plugin's defaults."""
    tower = make_use("text_encoder", "gpt3small").create().eval()
    assert 124e6 < sum(p.numel() for p in tower.parameters()) < 126e6
    config = GPT2Config(vocab_size=50264, n_positions=2048)
    original = shaken(GPT2Model(config))
    tower.load_weights(original.state_dict(), "the test")
    state = batch_of([15, 3, 8, 1], 50264)
    agree(tower(state)["pooled"], theirs(original, state))


def test_at_is_forward_at_one_place_with_the_same_gradients(tower: GptText, wild: Wild) -> None:
    block: GptBlock = wild(tower.h[0])
    x, place, rows = torch.randn(5, 9, 32), torch.tensor([8, 0, 3, 1, 5]), torch.arange(5)

    def run(take: bool) -> list[Tensor]:
        block.zero_grad()
        with torch.enable_grad():
            given = x.clone().requires_grad_()
            out = block.at(given, place) if take else block(given)[rows, place]
            out.square().sum().backward()
        grads = [p.grad.clone() for p in block.parameters() if p.grad is not None]
        assert len(grads) == 12
        assert given.grad is not None
        return [out.detach(), given.grad, *grads]

    for ours, whole in zip(run(True), run(False), strict=True):
        scale = float(whole.abs().max())
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-6 * max(1.0, scale))


def test_the_tensor_names_are_the_originals(original: GPT2Model, tower: GptText) -> None:
    shapes = {name: tensor.shape for name, tensor in original.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tower.state_dict().items()} == shapes
    original.load_state_dict(tower.state_dict(), strict=True)


def test_fresh_weights_are_drawn_as_the_originals(make_use: MakeUse) -> None:
    numbers = {**SMALL, "width": 96, "vocab_size": 400, "n_positions": 100}
    ours = make_use("text_encoder", "gpt3small", **numbers).create().state_dict()
    for name, tensor in GPT2Model(config_of(numbers)).state_dict().items():
        assert ours[name].mean().item() == pytest.approx(tensor.mean().item(), abs=0.002), name
        assert ours[name].std().item() == pytest.approx(tensor.std().item(), rel=0.05), name


def old_masks(layers: int) -> dict[str, Tensor]:
    """The buffers that files of old versions carry."""
    mask = torch.ones(24, 24, dtype=torch.uint8).tril()[None, None]
    masks = {f"h.{i}.attn.bias": mask.clone() for i in range(layers)}
    return {**masks, **{f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(layers)}}


def file_of(kind: str, original: GPT2Model) -> dict[str, Tensor]:
    """The same weights as one of the ways in which GPT-2 is published."""
    bare = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    if kind == "bare":
        return bare
    if kind == "bare, with masks":
        return {**bare, **old_masks(SMALL["layers"])}
    whole = GPT2LMHeadModel(original.config)
    whole.transformer.load_state_dict(bare)
    named = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    assert "lm_head.weight" in named
    if kind == "language model":
        return named
    return {**named, **{f"transformer.{n}": t for n, t in old_masks(SMALL["layers"]).items()}}


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "alone.pt"])
@pytest.mark.parametrize(
    "kind", ["bare", "bare, with masks", "language model", "language model, with masks"]
)
def test_files_old_and_new(
    kind: str, file: str, original: GPT2Model, tower: GptText, state: State, tmp_path: Path
) -> None:
    path, tensors = tmp_path / file, file_of(kind, original)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    source = f"file:{path if file == 'alone.pt' else tmp_path}"
    tower.load_weights(fetch(source, "text"), source)
    agree(tower(state)["pooled"], theirs(original, state))


def test_a_longer_position_table_is_cut(
    original: GPT2Model, make_use: MakeUse, state: State
) -> None:
    short = make_use("text_encoder", "gpt3small", **{**SMALL, "n_positions": 15}).create().eval()
    short.load_weights(original.state_dict(), "the test")
    assert short.wpe.weight.shape == (15, 32)
    agree(short(state)["pooled"], theirs(original, state))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ln_f.weight": None}, "missing: ln_f.weight"),
        ({"h.0.attn.c_attn.bais": torch.zeros(96)}, "unknown: h.0.attn.c_attn.bais"),
        ({"wte.weight": torch.zeros(50, 32)}, r"shape of wte.weight: \(50, 32\) there"),
        ({"wpe.weight": torch.zeros(20, 32)}, r"shape of wpe.weight: \(20, 32\) there"),
        ({"wpe.weight": torch.tensor(1.0)}, r"shape of wpe.weight: \(\) there"),
        ({"h.1.mlp.c_fc.weight": torch.zeros(128, 32)}, "shape of h.1.mlp.c_fc.weight"),
    ],
)
def test_weights_that_do_not_fit(
    change: dict[str, Tensor | None], words: str, original: GPT2Model, tower: GptText
) -> None:
    tensors = {**original.state_dict(), **change}
    with pytest.raises(
        WeightsError, match=f"weights of here do not fit GptText:\n(.*\n)*.*{words}"
    ):
        tower.load_weights({n: t for n, t in tensors.items() if t is not None}, "here")


def test_a_checkpoint_of_another_kind_is_reported(tower: GptText, make_use: MakeUse) -> None:
    bag = make_use("text_encoder", "bag_of_tokens", vocab_size=9, width=4).create()
    with pytest.raises(WeightsError, match=r"missing: wte.weight"):
        tower.load_weights(bag.state_dict(), "here")

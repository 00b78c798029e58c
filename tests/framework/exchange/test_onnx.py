"""ONNX files hold what the model computes; what they cannot hold is refused."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from engine.core.build import save
from engine.core.config import load_config
from engine.core.model import DualEncoder
from engine.errors import PluginError, WeightsError
from engine.evaluate.predictor import Predictor
from engine.exchange.onnx import OnnxTower, check_tower, export_onnx, write_onnx, write_tower
from engine.exchange.source import Source, Worst

from . import parts
from .conftest import BAG, LINEAR, SMALL_VIT
from .conftest import TINY as FOLDER

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TINY = [
    "clip_bpe", "clip_openai", "clip_rubert", "organisers_baseline", "ruclip", "sber",
    "sber_cluster",
]  # fmt: skip


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def check_texts(model: DualEncoder, path: Path, ids: Tensor, mask: Tensor) -> None:
    found = session(path).run(["text_embeds"], {"ids": ids.numpy(), "mask": mask.numpy()})[0]
    with torch.no_grad():
        expected = model.encode_text(ids, mask)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def exported(
    tiny: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Source, Path]]:
    """``exported("sber")``: the model of a tiny config and the folder of its export."""

    @cache
    def export(name: str) -> tuple[Source, Path]:
        folder = tmp_path_factory.mktemp(name) / "out"
        manifest = write_onnx(tiny(name), folder)
        assert json.loads((folder / "export.json").read_text()) == manifest
        assert [path.name for path in folder.parent.iterdir()] == ["out"]
        return tiny(name), folder

    return export


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_tiny_config_exports(
    name: str, exported: Callable[[str], tuple[Source, Path]]
) -> None:
    source, folder = exported(name)
    manifest = json.loads((folder / "export.json").read_text())
    assert manifest["vision"]["check"]["largest_difference"] < 1e-5
    assert manifest["text"]["check"]["largest_difference"] < 1e-5
    # Held to the model once more, on shapes that the export's own check does not try.
    model, size = source.built.model, source.built.model.vision.preprocess.size
    pixels = torch.rand(7, 3, size, size)
    found = session(folder / "vision.onnx").run(None, {"pixels": pixels.numpy()})[0]
    with torch.no_grad():
        expected = model.encode_image(pixels)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)
    ids = torch.randint(source.text_settings.vocab_size, (9, 11))
    mask = torch.arange(11) < torch.arange(1, 10)[:, None]
    check_texts(model, folder / "text.onnx", ids, mask)
    check_texts(model, folder / "text.onnx", ids[:3], torch.ones_like(mask[:3]))
    # Nothing of the machine is written: neither folders nor lines of code.
    for file in ("vision.onnx", "text.onnx"):
        data = (folder / file).read_bytes()
        assert b"engine_plugins" not in data
        assert b"site-packages" not in data


def test_no_model_of_a_tiny_config_is_left_out() -> None:
    """Some configs differ in their data alone."""
    models = {
        path.stem: load_config(path).model.model_dump_json()
        for path in FOLDER.glob("*.yaml")
        if path.stem != "photos"  # its export is a convolutional network's, which timm's tests hold
    }
    assert set(TINY) <= models.keys()
    assert set(models.values()) == {models[name] for name in TINY}


@pytest.mark.slow
def test_a_clustered_model_uses_several_clusters(tiny: Callable[[str], Source]) -> None:
    """Else the export of its hard choice would have shown little."""
    source = tiny("sber_cluster")
    with torch.no_grad():
        routed = [
            source.built.model.text_state({"ids": ids, "mask": mask})["routed"]
            for ids, mask in source.batches()
        ]
    assert len(torch.cat(routed).unique()) > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ruclip", "organisers_baseline"])
def test_the_program_answers_as_engine_does(
    name: str, exported: Callable[[str], tuple[Source, Path]]
) -> None:
    """In a process of its own: with the raw mean over templates, and with the plain one."""
    source, folder = exported(name)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert program is not None
    assert (folder / "classify.py").read_text(encoding="utf-8") == program[1]
    colours = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    lying = Image.Exif()
    lying[0x0112] = 6
    half = Image.new("L", (400, 300), 128)
    clear = Image.merge("RGBA", [*Image.fromarray(colours).resize((400, 300)).split(), half])
    clear.save(folder / "picture.png", exif=lying)
    names = ["Кошка", "собака на траве", "x"]
    done = subprocess.run(
        [sys.executable, "classify.py", "picture.png", *names],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = Predictor(source.built).classify(folder / "picture.png", names, top=3)[0]
    expected = {answer.name: answer.probability for answer in answers}
    found = {line[7:]: float(line[:6]) for line in done.stdout.splitlines()}
    assert found == pytest.approx(expected, abs=2e-4)


@pytest.mark.slow
def test_an_artifact_is_exported(make_source: Callable[..., Source], tmp_path: Path) -> None:
    built = make_source(SMALL_VIT, BAG, LINEAR, LINEAR).built
    save(built, tmp_path / "artifact")
    said: list[str] = []
    manifest = export_onnx(tmp_path / "artifact", tmp_path / "out", said.append)
    assert {"vision.onnx", "text.onnx", "comparing with onnxruntime"} <= set(said)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {*manifest["files"], "export.json"}
    picture = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    assert picture["size"] == 16
    assert picture["resize"] == "shorter_side"
    assert picture["interpolation"] == "bicubic"
    assert manifest["zero_shot"]["templates"] == ["{}"]
    assert manifest["logit_scale"] == pytest.approx(float(built.model.logit_scale.detach()))


def tower_of(part: parts.Part) -> OnnxTower:
    return OnnxTower("some.onnx", ("y",), {"ids": {0: "batch", 1: "length"}}, part.eval())


BATCHES = [
    {"ids": torch.tensor([[7]])}, {"ids": torch.tensor([[7, 7], [7, 7]])},
    {"ids": torch.arange(12).view(4, 3)}, {"ids": torch.tensor([[49, 3, 7]])},
]  # fmt: skip


def written_and_checked(part: parts.Part, folder: Path) -> dict[str, Any]:
    tower, ids = tower_of(part), torch.tensor([[1, 2], [3, 4], [5, 6]])
    with torch.no_grad():
        write_tower(tower, {"ids": ids}, folder)
        return check_tower(tower, BATCHES, folder)


@pytest.mark.slow
@pytest.mark.parametrize("part", [parts.Part, parts.BranchesAlike, parts.CountsRows])
def test_free_axes_stay_free(part: type[parts.Part], tmp_path: Path) -> None:
    """The three ways of following a module."""
    report = written_and_checked(part(), tmp_path)
    assert report["largest_difference"] < 1e-6
    assert report["batches"] == len(BATCHES)


@pytest.mark.slow
def test_weights_beyond_one_files_limit_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.exchange.onnx._MAX_IN_ONE_FILE", 100)
    assert written_and_checked(parts.Part(), tmp_path)["largest_difference"] < 1e-6
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["some.onnx", "some.onnx.data"]
    assert (tmp_path / "some.onnx.data").stat().st_size >= 4 * 50 * 3
    (tmp_path / "elsewhere").mkdir()  # the two may be moved together
    for name in names:
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    check_tower(tower_of(parts.Part()), [], tmp_path / "elsewhere")


REFUSED = {
    parts.Lies: r"some\.onnx differs from the model by 1.00e-02 on an input of shape \(1, 1\)",
    parts.Branches: r"some\.onnx differs from the model by 1.00e\+00",
    parts.Shapes: r"some\.onnx( gives embeddings of shape|: .* cannot be followed)",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("part", list(REFUSED))
def test_what_a_fixed_graph_cannot_hold_is_refused(part: type[parts.Part], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=REFUSED[part]) as caught:
        written_and_checked(part(), tmp_path)
    assert caught.value.hint
    assert len(str(caught.value)) < 1500


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "some.onnx").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded by onnxruntime"):
        check_tower(tower_of(parts.Part()), BATCHES, tmp_path)


@pytest.mark.slow
def test_after_a_refusal_nothing_is_left(
    make_source: Callable[..., Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(SMALL_VIT, BAG, LINEAR, LINEAR)
    monkeypatch.setattr("engine.exchange.source.TOLERANCE", 0.0)
    with pytest.raises(WeightsError, match=r"onnx differs .* so nothing was written"):
        write_onnx(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_differences() -> None:
    worst = Worst("it")
    one = torch.ones(2, 3)
    worst.compare(one + 5e-5, one, (2, 3))
    worst.compare(one, one, (2, 3))
    assert worst.to_json()["largest_difference"] == pytest.approx(5e-5, rel=1e-2)
    for wrong in (one + 2e-4, one * torch.nan):
        with pytest.raises(WeightsError, match="it differs from the model by"):
            worst.compare(wrong, one, (2, 3))
    with pytest.raises(WeightsError, match=r"shape \(1, 3\).*the model gives \(2, 3\)"):
        worst.compare(one[:1], one, (2, 3))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_reported_before_anything_runs(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == missing else real(name, *a)
    )
    with pytest.raises(PluginError, match=f"needs {missing},") as caught:
        export_onnx(tmp_path / "no such artifact", tmp_path / "out")
    assert 'pip install "engine-towers[onnx]"' in str(caught.value.hint)

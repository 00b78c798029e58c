"""Bad input, as a user meets it: one screen, the right words, exit code 2, never a traceback."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """\
engine: 1
name: little
model:
  embed_dim: 16
  vision: {use: small_vit, width: 16, layers: 1, heads: 2}
  text:
    use: gpt3small
    width: 16
    layers: 1
    heads: 2
    vocab_size: 400
    max_tokens: 15
    n_positions: 32
    tokenizer: {use: trained}
  projection:
    vision: {use: linear}
    text: {use: linear}
data:
  train: {use: shapes, count: 40}
"""

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little artifact, built once."""
    folder = tmp_path_factory.mktemp("little")
    (folder / "little.yaml").write_text(CONFIG, encoding="utf-8")
    from engine.core.build import build, save
    from engine.core.config import load_config

    save(build(load_config(folder / "little.yaml")), folder / "artifact")
    return folder / "artifact"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One data set of two classes and three images."""
    folder = tmp_path / "data" / "colours"
    (folder / "img").mkdir(parents=True)
    (folder / "classes.json").write_text('["красный", "синий"]', encoding="utf-8")
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (40, 30), colour).save(folder / "img" / f"{name}.jpg")
    truth = {"colours": {"a": 0, "b": 1, "c": 0}}
    (tmp_path / "data" / "gt.json").write_text(json.dumps(truth), encoding="utf-8")
    return tmp_path / "data"


def refused(answer: tuple[int, str, str], *words: str) -> None:
    code, _, err = answer
    assert code == 2, err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24, "more than a screen"
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("use: gpt3small", "use: gpt3smal", ("little.yaml:7", "gpt3smal", "`gpt3small`")),
        ("embed_dim", "embed_dmi", ("little.yaml:4", "embed_dmi", "`embed_dim`")),
        ("layers: 1, heads", "layers: many, heads", ("little.yaml:5", "layers", "many")),
        ("name: little", "name: little\nname: again", ("little.yaml:3", "name", "twice")),
        ("name: little", "name: !!python/object:os.system x", ("little.yaml:2", "tag")),
        ("name: little", "name: [", ("little.yaml",)),
        ("count: 40", "path: /etc", ("little.yaml:19", "path")),
    ],
    ids=["plugin", "key", "type", "duplicate", "tag", "syntax", "key of another plugin"],
)
def test_a_mistake_in_the_config(
    engine: Engine, tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "little.yaml").write_text(CONFIG.replace(old, new, 1), encoding="utf-8")
    for command in ("build", "size"):
        refused(engine(command, "little.yaml"), *words)
    assert not (tmp_path / "build").exists()


def test_all_mistakes_at_once(engine: Engine, tmp_path: Path) -> None:
    text = CONFIG.replace("embed_dim", "embed_dmi").replace("use: small_vit", "use: smal_vit")
    (tmp_path / "little.yaml").write_text(text, encoding="utf-8")
    refused(engine("build", "little.yaml"), "embed_dmi", "smal_vit")


def test_files_that_are_not_there(engine: Engine, tmp_path: Path, little: Path, data: Path) -> None:
    refused(engine("build", "none.yaml"), "none.yaml")
    refused(engine("size", "none.yaml"), "none.yaml")
    refused(engine("size", tmp_path), "no artifact")
    refused(engine("predict", "none", data, "-o", "p.json"), "none", "no such folder")
    refused(engine("predict", little, "nowhere", "-o", "p.json"), "nowhere")
    refused(engine("import", "none.pt", "--config", "none.yaml"), "none.yaml")


def test_weights_that_cannot_be_reached(engine: Engine, tmp_path: Path) -> None:
    weights = "weights: {from: 'hf:nobody/nothing'}"
    text = CONFIG.replace("    width: 16\n", f"    width: 16\n    {weights}\n", 1)
    (tmp_path / "little.yaml").write_text(text, encoding="utf-8")
    refused(engine("build", "little.yaml"), "hf:nobody/nothing")
    assert not (tmp_path / "build").exists()


def test_weights_cut_short(engine: Engine, tmp_path: Path) -> None:
    save_file({"wte.weight": torch.zeros(400, 16)}, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data[: len(data) // 2])
    weights = "weights: {from: 'file:w.safetensors', otherwise: scratch}"
    text = CONFIG.replace("    width: 16\n", f"    width: 16\n    {weights}\n", 1)
    (tmp_path / "little.yaml").write_text(text, encoding="utf-8")
    # It is there and broken: `otherwise: scratch` must not hide that.
    refused(engine("build", "little.yaml"), "w.safetensors", "cut short")


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (Path("ran"), "pwned"))


def test_code_in_a_pickle(engine: Engine, tmp_path: Path) -> None:
    torch.save({"a": Bomb()}, tmp_path / "old.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    refused(engine("import", "old.pt", "--config", "little.yaml"), "old.pt", "refused")
    refused(engine("import", "plain.pt", "--config", "little.yaml"), "plain.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_no_known_layout(engine: Engine, tmp_path: Path) -> None:
    save_file({"who.knows": torch.zeros(2)}, tmp_path / "x.safetensors")
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    answer = engine("import", "x.safetensors", "--config", "little.yaml")
    refused(answer, "who.knows", "ruclip_first")


def test_an_artifact_with_a_changed_byte(
    engine: Engine, tmp_path: Path, little: Path, data: Path
) -> None:
    shutil.copytree(little, tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    refused(engine("predict", "copy", data, "-o", "p.json"), "model.safetensors", "changed")
    assert not (tmp_path / "p.json").exists()


def test_an_empty_class_list(engine: Engine, little: Path, data: Path) -> None:
    (data / "colours" / "classes.json").write_text("[]", encoding="utf-8")
    refused(engine("predict", little, data, "-o", "p.json"), "classes.json")


def test_no_image(engine: Engine, little: Path, data: Path) -> None:
    shutil.rmtree(data / "colours" / "img")
    refused(engine("predict", little, data, "-o", "p.json"), "img")
    (data / "colours" / "img").mkdir()
    refused(engine("predict", little, data, "-o", "p.json"), "img")


def test_one_corrupt_image_costs_that_image(engine: Engine, little: Path, data: Path) -> None:
    (data / "colours" / "img" / "b.jpg").write_bytes(b"<html>no picture</html>")
    code, _, err = engine("predict", little, data, "-o", "p.json")
    assert code == 0, err
    assert "b" in err
    assert "1 " in err
    answers = json.loads(Path("p.json").read_text(encoding="utf-8"))
    assert list(answers["colours"]) == ["a", "c"]


def test_predict_and_eval_agree(engine: Engine, little: Path, data: Path) -> None:
    assert engine("predict", little, data, "-o", "p.json")[0] == 0
    code, whole, err = engine("eval", little, data, "--truth", data / "gt.json", "--json")
    assert code == 0, err
    code, files, err = engine(
        "eval", "--predictions", "p.json", "--truth", data / "gt.json", "--json"
    )
    assert code == 0, err
    assert json.loads(whole)["metrics"]["accuracy"] == json.loads(files)["metrics"]["accuracy"]


def test_over_the_limit(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    assert engine("size", "little.yaml", "--limit", "1MB")[0] == 0
    code, out, err = engine("size", "little.yaml", "--limit", "10 kB", "--json")
    assert code == 1
    assert json.loads(out)["models"][0]["over"] > 0
    assert "heaviest" in err
    code, _, err = engine("build", "little.yaml", "--set", "limits.weights=10kB")
    assert code == 1
    assert "over its limit" in err
    assert not (tmp_path / "build").exists()
    refused(engine("size", "little.yaml", "--limit", "much"), "much")


def test_torch_is_not_imported_before_it_must() -> None:
    light = (["--help"], ["plugins"], ["schema"], ["size", str(ROOT / "configs" / "sber.yaml")])
    for arguments in light:
        code = (
            "import sys; sys.argv[1:] = " + repr(arguments) + "\n"
            "from engine.cli.main import run\n"
            "try:\n    run()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "heavy = {'torch', 'transformers', 'open_clip', 'timm'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)

"""`--device` of every command: taken where it is there, refused in one line where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.config import load_config
from engine.evaluate import loading as module
from engine.evaluate.predictor import Predictor

Engine = Callable[..., tuple[int, str, str]]

CONFIG = """
engine: 1
name: small
model:
  embed_dim: 8
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 8, layers: 1, heads: 2}
  text: {use: gpt3small, width: 8, layers: 1, heads: 2, vocab_size: 300, max_tokens: 15,
         n_positions: 16, tokenizer: {use: trained}}
  projection: {vision: {use: residual}, text: {use: residual}}
data:
  train: {use: shapes, count: 8, size: 16}
train:
  threads: 1
  loggers: []
  stages: [{name: one, epochs: 1, batch_size: 4}]
"""


@pytest.fixture
def pictures(tmp_path: Path, colours: dict[str, object]) -> Path:
    """Two pictures of one colour each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in list(colours)[:2]:
        colours[name].save(folder / f"{name}.png")  # type: ignore[attr-defined]
    return folder


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_commands_refuse_a_device_that_is_not_there(
    engine: Engine, pictures: Path, tmp_path: Path, device: str
) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    calls = [
        ("predict", "MODEL", pictures, "--classes", "a,b", "-o", "out.json"),
        ("train", "c.yaml", "-o", "run"),
    ]
    for call in calls:
        code, _, err = engine(*call, "--device", device)
        assert code == 2, (call, err)
        assert device in err
        assert not Path("run").exists()
        assert not Path("out.json").exists()


def test_predict_answers_on_the_device(
    engine: Engine, pictures: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(path: object, *, device: object, **how: object) -> Predictor:
        asked.append(str(device))
        return predictor.to(str(device))

    monkeypatch.setattr(module, "load", load)
    code, _, err = engine("predict", "MODEL", pictures, "--classes", "красный,зелёный", "-o",
                          "o.json", "--device", "cpu")  # fmt: skip
    assert code == 0, err
    assert asked == ["cpu"]


def test_train_takes_the_device_before_the_configs(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG + "  device: cuda:7\n", encoding="utf-8")
    code, _, err = engine("train", path, "-o", "run")
    assert code == 2
    assert "cuda:7" in err
    code, _, err = engine("train", path, "-o", "run", "--device", "cpu")
    assert code == 0, err
    assert load_config(Path("run/model/config.yaml")).train.device == "cpu"  # type: ignore[union-attr]


def test_bench_refuses_it_as_the_row_of_an_entry(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "engine: 1\nname: s\nentries: [{name: one, config: c.yaml}]\n"
        "data: [{dataset: {use: shapes, split: test, count: 4, size: 16}}]\n",
        encoding="utf-8",
    )
    code, _, err = engine("bench", suite, "--device", "gpu")
    assert code == 2
    assert "device" in err

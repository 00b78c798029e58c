"""Models with a bias: config, size, artifact, training, and probabilities of each class."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.core.build import Built, build, read_artifact, save
from engine.core.config import load_config
from engine.core.size import artifact_size, config_size
from engine.errors import ConfigError, DataError
from engine.evaluate.predictor import Predictor

CONFIG = """
engine: 1
name: biased
model:
  embed_dim: 16
  logit_scale: 2.3
  logit_bias: {bias}
  vision: {{use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}}
  text: {{use: gpt3small, width: 16, layers: 1, heads: 2, vocab_size: 400, max_tokens: 15,
         n_positions: 32, tokenizer: {{use: trained}}}}
  projection: {{vision: {{use: linear}}, text: {{use: linear}}}}
data:
  train: {{use: shapes, count: 32, size: 16}}
train:
  threads: 1
  device: cpu
  loggers: []
  stages: [{{name: one, epochs: 2, batch_size: 16, losses: [{{use: sigmoid}}],
            optimizer: {{use: adamw, lr: 0.01}}}}]
"""
CLASSES = ["круг", "квадрат", "звезда"]


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Built]:
    def make(bias: str) -> Built:
        path = tmp_path / "biased.yaml"
        path.write_text(CONFIG.format(bias=bias), encoding="utf-8")
        return build(load_config(path))

    return make


@pytest.mark.parametrize("bias", ["-10", "0.0", "2.5"])
def test_a_bias_is_counted_stored_and_read(
    made: Callable[[str], Built], tmp_path: Path, bias: str
) -> None:
    built = made(bias)
    planned = config_size(built.config)
    report = save(built, tmp_path / "model")
    read = artifact_size(tmp_path / "model")
    assert planned.total == report.total == read.total
    assert [vars(part) for part in planned.parts] == [vars(part) for part in read.parts]
    assert report.num_parameters == config_size(made("null").config).num_parameters + 1
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert float(stored["logit_bias"]) == float(bias)
    again = read_artifact(tmp_path / "model").model
    assert again.logit_bias is not None
    assert float(again.logit_bias.detach()) == float(bias)


def test_a_model_without_one_has_none(made: Callable[[str], Built]) -> None:
    built = made("null")
    assert built.model.logit_bias is None
    assert "logit_bias" not in built.model.state_dict()
    assert "logit_bias" not in [part.name for part in config_size(built.config).parts]


def test_sigmoid_probabilities_are_those_of_each_class(made: Callable[[str], Built]) -> None:
    predictor = Predictor(made("-1.5"))
    picture = Image.new("RGB", (20, 16), "red")
    answers = predictor.classify(picture, CLASSES, top=3, probabilities="sigmoid")[0]
    image, texts = predictor.encode_images(picture)[0], predictor.class_vectors(CLASSES)
    logits = math.exp(2.3) * texts @ image - 1.5
    right = dict(zip(CLASSES, logits.sigmoid().tolist(), strict=True))
    assert {a.name: a.probability for a in answers} == pytest.approx(right, abs=1e-5)
    soft = predictor.classify(picture, CLASSES, top=3)[0]
    assert [a.name for a in soft] == [a.name for a in answers]
    assert sum(a.probability for a in soft) == pytest.approx(1, abs=1e-5)
    alone = predictor.classifier(CLASSES[:1]).classify(picture, probabilities="sigmoid")[0][0]
    assert alone.probability == pytest.approx(right[CLASSES[0]], abs=1e-5)
    model = predictor.model
    assert model.logit_bias is not None
    with torch.no_grad():
        model.logit_bias += 3
    more = predictor.classify(picture, CLASSES, top=3, probabilities="sigmoid")[0]
    assert all(a.probability > b.probability for a, b in zip(more, answers, strict=True))


@pytest.mark.parametrize(("bias", "kind"), [("null", "sigmoid"), ("-1", "sigmoud")])
def test_probabilities_that_there_are_not(
    made: Callable[[str], Built], bias: str, kind: str
) -> None:
    predictor = Predictor(made(bias))
    with pytest.raises(DataError, match=r"logit_bias|sigmoid"):
        predictor.classify(Image.new("RGB", (8, 8)), CLASSES, probabilities=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [".nan", ".inf", "much"])
def test_a_bias_is_a_finite_number(made: Callable[[str], Built], bias: str) -> None:
    with pytest.raises(ConfigError, match="logit_bias"):
        made(bias)


@pytest.mark.parametrize("trains", ["true", "false"])
def test_the_sigmoid_loss_trains_the_bias_of_the_model(
    made: Callable[[str], Built], tmp_path: Path, trains: str
) -> None:
    from engine.train.run import train

    made("-3")
    config = load_config(
        tmp_path / "biased.yaml", [f"train.stages.0.trains={{text: true, logit_bias: {trains}}}"]
    )
    trained, _ = train(config, tmp_path / "run")
    assert trained.model.logit_bias is not None
    moved = float(trained.model.logit_bias.detach()) != -3
    assert moved == (trains == "true")

"""`engine check`: what training would refuse, each fault with its place; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Engine = Callable[..., tuple[int, str, str]]

CONFIG = """\
engine: 1
name: little
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text:
    use: gpt3small
    width: 16
    layers: 2
    heads: 2
    vocab_size: 400
    max_tokens: 15
    n_positions: 32
    tokenizer: {use: trained}
  projection: {vision: {use: linear}, text: {use: linear}}
data:
  train: {use: shapes, count: 40, size: 16}
  evaluate:
    - {use: shapes, count: 24, size: 16, split: test}
train:
  threads: 1
  device: cpu
  stages:
    - {name: blocks, trains: {text: {blocks: last 1}}, epochs: 2, batch_size: 8}
    - name: everything
      trains: {vision: true, text: true}
      steps: 3
      batch_size: 8
"""


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path) -> Path:
    """little.yaml in the folder that the commands run in."""
    path = tmp_path / "little.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_a_good_config_passes_and_nothing_is_written(engine: Engine, tmp_path: Path) -> None:
    code, out, err = engine("check", "little.yaml")
    assert code == 0, err
    assert "train.stages.1: a batch went through; loss" in out
    assert [path.name for path in tmp_path.iterdir()] == ["little.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("{use: shapes, count: 40, size: 16}", "{use: click_log, path: nowhere}",
         "little.yaml:17:3: data.train", "nowhere"),
        ("{use: shapes, count: 24, size: 16, split: test}",
         "{use: zero_shot_folder, path: nowhere}",
         "little.yaml:19:7: data.evaluate.0", "nowhere"),
        ("steps: 3", "steps: 3\n      losses: [{use: router}]",
         "little.yaml:28:7: train.stages.1.losses", "router"),
        ("steps: 3\n      batch_size: 8", "steps: 3\n      batch_size: 64",
         "little.yaml:25:7: train.stages.1", "fewer than a batch of 64"),
        ("last 1", "last 7", "little.yaml:24:7: train.stages.0", "2 blocks"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "train"])
def test_late_faults_have_a_place(
    engine: Engine, config_file: Path, command: str, old: str, new: str, place: str, words: str
) -> None:
    config_file.write_text(CONFIG.replace(old, new), encoding="utf-8")
    code, _, err = engine(command, "little.yaml")
    assert code == 2
    assert place in err
    assert words in err


def test_all_faults_come_at_once(engine: Engine) -> None:
    code, out, _ = engine(
        "check", "little.yaml", "--json",
        "--set", "limits.weights=1kB",
        "--set", "data.train={use: click_log, path: nowhere}",
        "--set", "data.evaluate=[{use: zero_shot_folder, path: neither}]",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 2
    assert not found["ok"]
    messages = [error["message"] for error in found["errors"]]
    assert [message.split(": ")[:2] for message in messages] == [
        ["--set 1", "limits.weights"],
        ["--set 3", "data.evaluate.0"],
        ["--set 2", "data.train"],
    ]


def test_a_limit_alone_is_exit_code_1(engine: Engine) -> None:
    for more in ([], ["--no-data"]):
        code, _, err = engine("check", "little.yaml", *more, "--set", "limits.weights=1kB")
        assert code == 1
        assert "limits.weights" in err


def test_more_clusters_than_n_grams(engine: Engine) -> None:
    code, _, err = engine(
        "check", "little.yaml", "--set",
        "clusters={embedder: {use: tfidf_svd, width: 8},"
        " clusterer: {use: agglomerative_knn, count: 900}}",
        "--set", "model.projection.text={use: clustered, count: 900, of: {use: linear}}",
    )  # fmt: skip
    assert code == 2
    assert "n-grams for 900 clusters" in err

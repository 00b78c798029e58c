"""`engine train` and `engine show`, as a user meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
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
  projection:
    vision: {use: linear}
    text: {use: linear}
data:
  train: {use: shapes, count: 40, size: 16}
  evaluate:
    - {use: shapes, count: 24, size: 16, split: test}
storage: {default: float16}
train:
  threads: 1
  device: cpu
  loggers: [{use: console}, {use: json_lines}]
  stages:
    - {name: blocks, trains: {text: {blocks: last 1}}, epochs: 2, batch_size: 8}
    - {name: all & everything, trains: {vision: true, text: true}, steps: 3, batch_size: 8}
"""

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path) -> None:
    """little.yaml in the folder that the commands run in."""
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")


def test_train_writes_an_artifact_that_predicts_and_a_run_that_shows(
    engine: Engine, tmp_path: Path
) -> None:
    code, out, err = engine("train", "little.yaml", "-o", "run")
    assert code == 0, err
    assert "blocks" in out
    assert "written to run/model" in out
    assert "step 13/13" in err
    assert "accuracy" in err
    manifest = json.loads((tmp_path / "run/model/engine.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in manifest["stages"]] == ["blocks", "all & everything"]
    assert [stage["steps"] for stage in manifest["stages"]] == [10, 3]
    assert 0 <= manifest["scores"]["accuracy"] <= 100
    lines = (tmp_path / "run/log.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("stage 1, blocks" in json.loads(line).get("note", "") for line in lines)

    code, out, err = engine(
        "data", "make", "shapes", "data", "--set", "count=24", "--set", "size=16"
    )
    assert code == 0, err
    code, out, err = engine("eval", "run/model", "data/test", "--json")
    assert code == 0, err
    assert json.loads(out)["warnings"] == []  # trained: no warning of random weights

    code, out, err = engine("show", "run", "--html", "curves.html")
    assert code == 0, err
    assert "all & everything" in out
    page = (tmp_path / "curves.html").read_text(encoding="utf-8")
    assert "all &amp; everything" in page
    assert page.count("<svg") >= 3
    assert not re.search(r'(src|href)="(?!#)|<script|url\((?!#)', page)  # nothing from elsewhere
    code, out, err = engine("show", "run", "--json")
    assert len(json.loads(out)["stages"]) == 2


def test_a_run_in_the_way_is_kept_unless_asked(engine: Engine, tmp_path: Path) -> None:
    quick = ["--set", "train.stages.0.epochs=1", "--set", "data.evaluate=[]"]
    assert engine("train", "little.yaml", "-o", "run", *quick, "--json")[0] == 0
    code, out, err = engine("train", "little.yaml", "-o", "run", *quick)
    assert (code, out) == (2, "")
    assert "holds a run already" in err
    assert "--resume" in err
    code, _, err = engine("train", "little.yaml", "-o", "run", "--resume", *quick)
    assert code == 0, err  # it was over: nothing is left to do
    code, _, err = engine("train", "little.yaml", "-o", "run", "--resume")
    assert code == 2
    assert "`data.evaluate` differs" in err
    code, _, err = engine("train", "little.yaml", "-o", "run", "--force", *quick)
    assert code == 0, err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for more in ([], ["--force"]):
        code, _, err = engine("train", "little.yaml", "-o", "mine", *more)
        assert code == 2
        assert "is not a run" in err
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "run", "--resume"], "is not a run to go on with"),
        (["-o", "run", "--set", "train.stages.0.batch_size=1"], "at least 2"),
        (["-o", "run", "--set", "train.stages.0.batch_size=50"], "40 usable rows, fewer than"),
        (["-o", "run", "--set", "train.stages.0.steps=4"], "either `epochs` or `steps`"),
        (["-o", "run", "--set", "train.stages.0.losses=[contrstive]"], "did you mean"),
        (["-o", "run", "--set", "train.device=cuda"], "finds no such device"),
    ],
)
def test_bad_input_is_reported_on_one_screen(
    engine: Engine, arguments: list[str], words: str
) -> None:
    if "train.device=cuda" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    code, out, err = engine("train", "little.yaml", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_configs_that_lack_what_training_needs(engine: Engine, tmp_path: Path) -> None:
    before, _, _ = CONFIG.partition("train:\n  threads")
    (tmp_path / "bare.yaml").write_text(before, encoding="utf-8")
    code, _, err = engine("train", "bare.yaml")
    assert code == 2
    assert "has no `train:` section" in err
    no_data = CONFIG.replace("  train: {use: shapes, count: 40, size: 16}\n", "")
    (tmp_path / "no_data.yaml").write_text(no_data, encoding="utf-8")
    code, _, err = engine("train", "no_data.yaml")
    assert code == 2
    assert "`data.train` names no data set" in err


def test_show_says_what_is_no_run(engine: Engine, tmp_path: Path) -> None:
    code, _, err = engine("show", tmp_path)
    assert code == 2
    assert "is not a run" in err


def test_help_and_bad_configs_import_no_torch() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['engine', 'train', '--help']\n"
        "from engine.cli import main\n"
        "try:\n    main.run()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout


@pytest.mark.parametrize("words", [("little.yaml", "more"), ("little.yaml", "auto")])
def test_a_further_argument_is_refused(engine: Engine, words: tuple[str, ...]) -> None:
    code, _, err = engine("train", *words)
    assert code == 2
    assert "one argument too many" in err

"""`engine embed` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine.evaluate import loading as module
from engine.evaluate.predictor import Predictor

from ...scaffold.warm import Command

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def colour_model(monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
    """Every artifact is the colour model."""
    monkeypatch.setattr(module, "load", lambda path, **how: predictor)


@pytest.fixture
def pictures(tmp_path: Path, colours: dict[str, Image.Image]) -> Path:
    """A folder of pictures, one of them broken."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, picture in colours.items():
        picture.save(folder / f"{name}.png")
    (folder / "z.png").write_bytes(b"no picture")
    return folder


def test_it_writes_goes_on_and_says_what_is_broken(engine: Engine, pictures: Path) -> None:
    call = ("embed", pictures, "-m", "MODEL", "-o", "out", "--rows", 3)
    code, out, err = engine(*call)
    assert code == 0, err
    assert "3 shards" in out
    assert "z.png" in err
    assert len(list(Path("out").iterdir())) == 3
    code, out, _ = engine(*call, "--json")
    assert code == 0
    assert json.loads(out)["skipped"] == 3


def test_a_config_names_its_training_data(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "engine: 1\nname: c\nmodel:\n  embed_dim: 8\n"
        "  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 8, layers: 1,"
        " heads: 2}\n"
        "  text: {use: gpt3small, width: 8, layers: 1, heads: 2, vocab_size: 300, max_tokens: 15,"
        " n_positions: 16, tokenizer: {use: trained}}\n"
        "  projection: {vision: {use: residual}, text: {use: residual}}\n"
        "data: {train: {use: shapes, count: 6, size: 16}}\n",
        encoding="utf-8",
    )
    code, out, err = engine("embed", "c.yaml", "-m", "MODEL", "-o", "memory://cli/c", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing", "-o", "out"), "missing"),
        (("pictures", "-o", "nowhere://x/y"), "nowhere"),
        (("pictures", "-o", "out", "--device", "cuda:99"), "cuda:99"),
    ],
)
def test_bad_input_is_one_sentence(
    engine: Engine, pictures: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = engine("embed", *arguments, "-m", "MODEL")
    assert code == 2, err
    assert words in err
    assert not Path("out").exists()


CONFIG = """
engine: 1
name: c
model:
  embed_dim: 8
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 8, layers: 1, heads: 2}
  text: {use: gpt3small, width: 8, layers: 1, heads: 2, vocab_size: 300, max_tokens: 15,
         n_positions: 16, tokenizer: {use: trained}}
  projection: {vision: {use: residual}, text: {use: residual}}
data: {train: {use: shapes, count: 600, size: 96}}
"""


@pytest.mark.slow
def test_a_process_that_is_killed_changes_no_byte(tmp_path: Path, warm: str) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")

    def call(*words: str) -> Command:
        with (tmp_path / "said").open("wb") as file:
            files = (0, file.fileno(), file.fileno())
            return Command(warm, ["-m", "engine", *words], str(tmp_path), os.environ, files)

    def end(process: Command) -> None:
        assert process.wait(240) == 0, (tmp_path / "said").read_text()[-2000:]

    def files(name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    end(call("build", "c.yaml", "-o", "model"))
    words = ("embed", "c.yaml", "-m", "model", "--rows", "10", "--workers", "1", "-o")
    end(call(*words, "whole"))
    killed = call(*words, "broken")
    until = time.monotonic() + 120
    while len(list((tmp_path / "broken").glob("*.parquet"))) < 3:
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    there = len([name for name in files("broken") if name.endswith(".parquet")])
    assert 3 <= there < 60
    end(call(*words, "broken"))
    assert files("broken") == files("whole")

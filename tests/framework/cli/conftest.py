"""The command line in this process, as a user meets it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.cli import main

CONFIG = """\
engine: 1
name: little
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text: {use: gpt3small, width: 16, layers: 1, heads: 2, vocab_size: 400, max_tokens: 15,
         n_positions: 32, tokenizer: {use: trained}}
  projection: {vision: {use: linear}, text: {use: linear}}
data:
  train: {use: shapes, count: 40, size: 16}
  evaluate: [{use: shapes, count: 24, size: 16, split: test}]
train:
  threads: 1
  device: cpu
  stages: [{name: NAME, trains: {text: {blocks: last 1}}, steps: 2, batch_size: 8}]
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact and the config that it was built of, `little.yaml`, beside it."""
    from engine.core.build import build, save
    from engine.core.config import load_config

    folder = tmp_path_factory.mktemp("built")
    (folder / "little.yaml").write_text(CONFIG, encoding="utf-8")
    save(build(load_config(folder / "little.yaml")), folder / "artifact")
    return folder / "artifact"


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Arguments (and stdin) -> exit code, stdout, stderr; in an empty folder, 120 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object, stdin: bytes | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engine", *map(str, arguments)])
        if stdin is not None:
            pipe = SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False)
            monkeypatch.setattr(sys, "stdin", pipe)
        capfd.readouterr()
        code = 0
        try:
            main.run()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call

"""``train.compile``: the same training through torch.compile, and what is said where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.config.schema import EngineConfig
from engine.evaluate.predictor import Predictor

from .conftest import Run

Make = Callable[..., EngineConfig]

SMALL = (
    "train.stages.0.trains={vision: true, text: true}",
    "train.stages.0.epochs=2",
    "model.vision={use: openai_clip, image_size: 16, patch_size: 8, width: 16, layers: 2,"
    " heads: 2, embed_width: 16}",
    "model.text.layers=2",
)

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="torch.compile on the CPU needs a C++ compiler (Debian: g++)",
)


@needs_compiler
@pytest.mark.slow
def test_compiled_training_gives_the_same_losses(
    make_config: Make, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    _, plain = trained(make_config(*SMALL))
    trainer, compiled = trained(make_config(*SMALL, "train.compile=true"))
    assert len(compiled.losses) == 6
    assert compiled.losses == pytest.approx(plain.losses, abs=1e-4)
    block = trainer.model.text.segments()[1].parts[0]
    assert block._compiled_call_impl is not None  # it was compiled, not left as it is
    texts = ["красный круг", "синий квадрат слева"]
    assert Predictor(trainer.built).encode_texts(texts).shape == (2, 16)


@pytest.mark.slow
def test_without_a_compiler_it_says_what_to_install(make_config: Make, tmp_path: Path) -> None:
    make_config("train.compile=true")  # writes little.yaml
    done = subprocess.run(
        [sys.executable, "-m", "engine", "train", "little.yaml", "-o", "run", "--set",
         "train.compile=true"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "train.compile: torch.compile does not work here" in done.stderr
    assert "g++" in done.stderr
    assert "Traceback" not in done.stderr

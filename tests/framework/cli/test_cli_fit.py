"""``engine fit`` and ``engine trim``: what is written, said and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from engine.cli.fit import _default_texts
from engine.core.config import load_config

CONFIG = """\
engine: 1
name: small
model:
  embed_dim: 24
  vision: {use: small_vit, image_size: 32, width: 32, layers: 1, heads: 4}
  text:
    use: rubert
    vocab_size: 400
    max_tokens: 16
    n_positions: 64
    width: 64
    layers: 2
    heads: 4
    tokenizer: {use: wordpiece}
  projection: {vision: {use: linear}, text: {use: linear}}
data: {train: {use: shapes, count: 64}}
"""


class Done(NamedTuple):
    """A finished command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


Engine = Callable[..., Done]


@pytest.fixture(name="run")
def run_fixture(engine: Callable[..., tuple[int, str, str]]) -> Engine:
    return lambda *arguments: Done(*engine(*arguments))


@pytest.fixture
def small(run: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "texts.txt").write_text("красный круг\nсиний квадрат\n\nзелёный круг\nкруг\n")
    assert run("build", "small.yaml", "-o", "small").exit_code == 0
    return tmp_path


def bytes_of(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_size


def test_a_fit_writes_an_artifact_under_the_limit_and_a_page(run: Engine, small: Path) -> None:
    done = run("fit", "small", "--limit", "150kB", "--texts", "texts.txt", "-o", "fitted",
                  "--html", "fit.html", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["bytes"] == bytes_of(small / "fitted") <= 150_000 < found["bytes_before"]
    assert found["steps"][0]["use"] == "trim_positions"
    assert found["candidates"][0]["bytes"] == found["bytes"]
    assert found["quality"]["cosine"]["text"] > 0.9
    page = (small / "fit.html").read_text()
    assert "What was done to which tensor" in page
    assert "<script" not in page
    assert not list(small.glob(".fitted*"))
    size = run("size", "fitted", "--json")
    assert json.loads(size.stdout)["models"][0]["limit"] == 150_000
    table = run("fit", "small", "--limit", "150kB", "--texts", "texts.txt", "-o", "again")
    assert "under the limit of 150,000" in " ".join(table.output.split())
    assert bytes_of(small / "again") == found["bytes"]


def test_training_repairs_and_says_so(run: Engine, small: Path) -> None:
    words = ("круг", "квадрат", "треугольник", "звезда")
    colours = ("красный", "синий", "зелёный", "жёлтый")
    (small / "many.txt").write_text("\n".join(f"{c} {w}" for c in colours for w in words))
    fit = ("fit", "small", "--limit", "110kB", "--texts", "many.txt", "--json")
    plain = json.loads(run(*fit, "-o", "plain").stdout)
    done = run(*fit, "--train", "-o", "trained")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["bytes"] == plain["bytes"] == bytes_of(small / "trained")
    assert any("steps of distillation from the original" in note for note in found["notes"])
    assert found["quality"]["cosine"]["text"] > plain["quality"]["cosine"]["text"]
    done = run("fit", "small", "--limit", "110kB", "--texts", "texts.txt", "--train", "-o", "few")
    assert done.exit_code == 2
    assert "4 texts are too few to train with" in " ".join(done.output.split())


def test_a_plan_needs_neither_weights_nor_torch(small: Path) -> None:
    code = (
        "import sys\nfrom engine.cli.main import app\n"
        "try:\n    app(['fit', 'small', '--limit', '200kB', '--plan', '--json', '--languages',"
        " 'ru'])\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["smallest"] <= 200_000 < found["bytes_before"]
    assert found["storages"]["int8_rows"] > found["storages"]["int4_groups"]


def test_trimming_says_what_was_checked(run: Engine, small: Path) -> None:
    done = run("trim", "small", "--languages", "ru", "-o", "trimmed", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["bytes"] == bytes_of(small / "trimmed") < bytes_of(small / "small")
    steps = {step["use"]: step for step in found["steps"]}
    assert "every text" in steps["trim_positions"]["lossless"]
    manifest = json.loads((small / "trimmed" / "engine.json").read_text())
    assert [one["use"] for one in manifest["compression"]["steps"]] == list(steps)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--limit", "1kB", "--texts", "texts.txt"], 1, "cannot be made as small as 1,000 bytes"),
        (["--limit", "many"], 2, "--limit many"),
        (["--limit", "150kB", "--texts", "nothing.txt"], 2, "cannot be read"),
        (["--limit", "150kB", "--texts", "empty.txt"], 2, "the calibration set would be empty"),
        (["--limit", "150kB", "--truth", "gt.json"], 2, "without --data"),
        (
            ["--limit", "150kB", "--texts", "texts.txt", "--languages", "ka"],
            2,
            "the tokenizer cannot spell `ka`",
        ),
        (
            ["--limit", "150kB", "--texts", "texts.txt", "--languages", "klingon"],
            2,
            "neither a language",
        ),
    ],
)
def test_bad_input(run: Engine, small: Path, arguments: list[str], code: int, words: str) -> None:
    (small / "empty.txt").write_text("\n \n")
    done = run("fit", "small", *arguments, "-o", "fitted")
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.split())
    assert not (small / "fitted").exists()


def test_nowhere_to_write_and_over_its_own_input(run: Engine, small: Path) -> None:
    assert "-o build/fitted" in run("fit", "small", "--limit", "150kB").output
    done = run("fit", "small", "--limit", "150kB", "-o", "small")
    assert done.exit_code == 2
    before = bytes_of(small / "small")
    assert run("trim", "small", "-o", "x").exit_code == 2
    assert bytes_of(small / "small") == before


def test_a_model_below_the_limit_is_written_as_it_is(run: Engine, small: Path) -> None:
    done = run("fit", "small", "--limit", "100MB", "--texts", "texts.txt", "-o", "same")
    assert done.exit_code == 0, done.output
    assert "nothing is done" in " ".join(done.output.split())
    assert bytes_of(small / "same") == bytes_of(small / "small")
    done = run("fit", "small", "--limit", "100MB", "--texts", "texts.txt", "-o", "same",
               "--html", "same.html", "--json")  # fmt: skip
    assert json.loads(done.stdout)["cost"] == "no loss: nothing had to be done"
    assert "nothing is done" in (small / "same.html").read_text()


def test_a_language_that_the_tokenizer_cannot_spell(run: Engine, small: Path) -> None:
    done = run("trim", "small", "--languages", "ka", "-o", "trimmed")
    assert done.exit_code == 2
    assert "cannot spell `ka`" in " ".join(done.output.split())
    done = run("trim", "small", "--languages", "klingon", "-o", "trimmed2")
    assert done.exit_code == 2
    assert not (small / "trimmed").exists()
    assert "neither a language" in " ".join(done.output.split())


def test_texts_of_the_training_data_are_evenly_spaced_and_in_the_trained_languages(
    tmp_path: Path,
) -> None:
    """A lexicon is sorted, so its first texts would all begin with the same letter."""
    rows = "".join(f"слово {n:04}\tword {n:04}\n" for n in range(5000))
    (tmp_path / "x.tsv").write_text(rows, encoding="utf-8")
    config = CONFIG.replace(
        "{use: shapes, count: 64}", f"{{use: parallel_texts, path: {tmp_path}/x.tsv}}"
    )
    stage = "{name: a, trains: {text: true}, epochs: 1, batch_size: 8}"
    train = f"train: {{languages: [ru], stages: [{stage}]}}\n"
    (tmp_path / "one.yaml").write_text(config + train, encoding="utf-8")
    built = SimpleNamespace(config=load_config(tmp_path / "one.yaml"))
    found = _default_texts(built, [])  # type: ignore[arg-type]
    assert len(found) == 2000
    assert all(text.startswith("слово") for text in found)
    assert (found[0], found[1], found[-1]) == ("слово 0000", "слово 0002", "слово 4997")

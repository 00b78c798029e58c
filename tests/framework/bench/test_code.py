"""Results follow from code: an edit of what was imported makes them again, any other does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.bench import code
from engine.bench.code import Code, imported_code, keep, packages_of, read, uses_of, why_stale
from engine.core.config import load_config
from engine.core.registry import default_registry

# ---- records ------------------------------------------------------------------------------------


def test_a_record_is_kept_once_and_read_back(tmp_path: Path) -> None:
    found = imported_code(["engine_plugins"])
    name = keep(found, tmp_path)
    assert keep(found, tmp_path) == name
    assert [path.stem for path in tmp_path.iterdir()] == [name]
    assert read(name, tmp_path) == found
    assert why_stale(name, tmp_path) == ""
    (tmp_path / f"{name}.json").write_text((tmp_path / f"{name}.json").read_text()[:-9])
    assert "not known" in why_stale(name, tmp_path)
    for unknown in ("", "../x", "0" * 24):
        assert "not known" in why_stale(unknown, tmp_path)


def test_what_is_imported_counts_and_nothing_else() -> None:
    found = imported_code(["engine_plugins"])
    assert "engine/bench/code.py" in found.files
    assert "engine/__init__.py" in found.files
    # In a process of its own: other tests of this one have imported more.
    script = "from engine.bench.code import imported_code; print(*imported_code([]).files)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    files = ran.stdout.split()
    assert "engine/bench/code.py" in files
    assert not any(name.startswith(("engine/cli/", "engine/bench/page/")) for name in files)
    assert found.versions.keys() >= {"numpy", "pydantic", "python"}
    values = {**found.files, **found.versions}
    assert [name for name, value in values.items() if "missing" in value] == []
    assert list(found.changes()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {"engine/core/build.py": "0"}}, "engine/core/build.py changed"),
        ({"files": {"engine/gone.py": "0"}}, "engine/gone.py changed"),
        ({"files": {"/nowhere/x.py": "0"}}, "/nowhere/x.py changed"),
        ({"files": {"no_such_package/x.py": "0"}}, "no_such_package/x.py changed"),
        ({"versions": {"numpy": "0.1"}}, "numpy was 0.1 and is "),
        ({"versions": {"no-such-package": "0.1"}}, "no-such-package was 0.1 and is missing"),
        ({"versions": {"python": "2.7"}}, "python was 2.7 and is "),
        ({"absent": ("numpy",)}, "numpy was not installed and is now"),
    ],
)
def test_what_changed_is_reported(change: dict[str, Any], words: str) -> None:
    (message,) = Code(**{"files": {}, "versions": {}, **change}).changes()
    assert message.startswith(words)


def test_a_file_that_is_edited_while_it_runs_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper_of_a_bench.py").write_text("x = 1\n")
    import helper_of_a_bench  # type: ignore[import-not-found]  # noqa: F401

    edited = (tmp_path / "helper_of_a_bench.py").stat().st_mtime
    monkeypatch.setattr(code, "_STARTED", edited + 9)
    assert list(imported_code([]).changes()) == []
    monkeypatch.setattr(code, "_STARTED", edited - 9)
    assert "helper_of_a_bench.py changed" in list(imported_code([]).changes())
    del sys.modules["helper_of_a_bench"]


def test_every_plugin_of_a_config_is_found(root: Path) -> None:
    config = load_config(root / "configs" / "tiny" / "sber.yaml")
    kinds = {use.kind for use in uses_of([config.model, config.train, config.data])}
    assert kinds >= {"vision_tower", "text_encoder", "projection", "tokenizer", "loss", "sampler",
                     "dataset", "logger"}  # fmt: skip
    assert packages_of([config.model], default_registry()) == ("engine", "engine_plugins") or (
        packages_of([config.model], default_registry()) == ("engine_plugins",)
    )


# ---- a bench of copies, each file of which may be edited ---------------------------------------

METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 0.1\n"
THEIRS = {
    "their_losses/__init__.py": (
        "from engine.contracts.hooks import Plugin, hookimpl\n"
        "ENGINE_API = '2.0'\n"
        "@hookimpl\n"
        "def engine_plugins():\n"
        "    return [Plugin(kind='loss', name='theirs', target='their_losses.loss:Theirs',\n"
        "                   settings='engine.contracts:LossSettings')]\n"
    ),
    "their_losses/loss.py": (
        "from importlib.resources import files\n"
        "from engine.contracts import Loss\n"
        "from .factor import FACTOR\n"
        "class Theirs(Loss):\n"
        "    '''Cosines of what does not belong together.'''\n"
        "    reads = frozenset({'image.embedding', 'text.embedding', 'scale'})\n"
        "    def forward(self, batch):\n"
        "        more = float(files('their_losses').joinpath('more.txt').read_text())\n"
        "        cosine = batch['image.embedding'] @ batch['text.embedding'].T\n"
        "        return FACTOR * more * (cosine.mean() - cosine.diagonal().mean())\n"
    ),
    "their_losses/factor.py": "FACTOR = 1.0\n",
    "their_losses/more.txt": "1.0\n",
    "their_losses/unused.py": "x = 1\n",
    "their_losses-0.1.dist-info/METADATA": METADATA.format("their-losses"),
    "their_losses-0.1.dist-info/entry_points.txt": "[engine]\ntheirs = their_losses\n",
    "unused_plugins/__init__.py": (
        "from engine.contracts.hooks import Plugin, hookimpl\n"
        "ENGINE_API = '2.0'\n"
        "@hookimpl\n"
        "def engine_plugins():\n"
        "    return [Plugin(kind='loss', name='unused', target='unused_plugins.loss:Unused')]\n"
    ),
    "unused_plugins-0.1.dist-info/METADATA": METADATA.format("unused-plugins"),
    "unused_plugins-0.1.dist-info/entry_points.txt": "[engine]\nunused = unused_plugins\n",
}
SUITE = {
    "engine": 1, "name": "copied", "limits": ["1 MB"], "measure": {"speed": True, "draws": 200},
    "data": [{"folder": "photographs"}],
    "entries": [
        {"name": "trained", "config": "model.yaml"},
        {"name": "theirs", "predictions": "theirs.json"},
    ],
}  # fmt: skip
MODEL = {
    "engine": 1, "name": "copied",
    "model": {
        "embed_dim": 8,
        "vision": {"use": "small_vit", "image_size": 16, "width": 8, "layers": 1, "heads": 1},
        "text": {"use": "gpt3small", "width": 8, "layers": 1, "heads": 1, "vocab_size": 300,
                 "max_tokens": 15, "n_positions": 32, "tokenizer": {"use": "trained"}},
        "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
    },
    "data": {"train": {"use": "zero_shot_folder", "path": "photographs/one",
                       "truth": "photographs/gt.json"}},
    "train": {"loggers": [], "device": "cpu", "stages": [
        {"name": "one", "steps": 2, "batch_size": 4, "losses": [{"use": "theirs"}],
         "trains": {"vision": True, "text": True}}]},
}  # fmt: skip

LOOK = """
import json, sys
from pathlib import Path
from engine.bench.datasets import evaluated_of
from engine.bench.plan import plan
from engine.bench.suite import load_suite
suite = load_suite(Path("suite.json"))
evaluated, _ = evaluated_of(suite)
done = {t.entry.name: {p: t.done(p) for p in t.phases} for t in plan(suite, evaluated, Path("out"))}
assert "torch" not in sys.modules
print(json.dumps(done))
"""


class Copy:
    """Engine, its plugins, two packages of other people, a config and data: all copied."""

    def __init__(self, folder: Path, root: Path, photographs: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("framework", "plugins"):
            shutil.copytree(root / name, folder / name, ignore=ignored)
        for name, text in THEIRS.items():
            (folder / "theirs" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "theirs" / name).write_text(text)
        shutil.copytree(photographs, folder / "photographs")
        (folder / "suite.json").write_text(json.dumps(SUITE))
        (folder / "model.yaml").write_text(json.dumps(MODEL))
        (folder / "docs").mkdir()
        (folder / "docs" / "page.md").write_text("# Words\n")
        answers = {name: {str(i): i % 3 for i in range(9)} for name in ("one", "two")}
        (folder / "theirs.json").write_text(json.dumps(answers))
        # Files are older than the processes that import them.
        for path in folder.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def python(self, *arguments: str) -> str:
        paths = os.pathsep.join(str(self.folder / n) for n in ("framework", "plugins", "theirs"))
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True,
            text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bench(self) -> dict[str, str]:
        """Run it; the log of each process that was started for it."""
        for path in (self.folder / "out" / "logs").glob("*.log"):
            path.unlink()
        self.python("-m", "engine", "bench", "suite.json", "--folder", "out")
        return {p.stem: p.read_text() for p in (self.folder / "out" / "logs").glob("*.log")}

    def done(self) -> dict[str, dict[str, bool]]:
        """What would not be measured again."""
        found: dict[str, dict[str, bool]] = json.loads(self.python("-c", LOOK))
        return found

    def answers(self) -> dict[str, Any]:
        """The answers of the trained model."""
        (path,) = (self.folder / "out" / "results").glob("trained.*.answers.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture(scope="module")
def photographs_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .conftest import write_folder

    root = tmp_path_factory.mktemp("photographs") / "photographs"
    truth = {name: write_folder(root, name) for name in ("one", "two")}
    (root / "gt.json").write_text(json.dumps(truth))
    return root


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, photographs_once: Path) -> Copy:
    """A bench that was run."""
    made = Copy(tmp_path_factory.mktemp("copy"), Path(__file__).resolve().parents[3],
                photographs_once)  # fmt: skip
    logs = made.bench()
    assert set(logs) == {"trained.0.evaluate", "trained.0.speed", "theirs.0.evaluate"}
    return made


def appended(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(path.read_text() + text)

    return change


PYTHON, WORDS = appended("\nMORE = 1\n"), appended("\nmore words\n")
ALL = {"trained": {"evaluate": True, "speed": True}, "theirs": {"evaluate": True}}
NONE = {"trained": {"evaluate": False, "speed": False}, "theirs": {"evaluate": False}}
EVALUATED = {"trained": {"evaluate": False, "speed": True}, "theirs": {"evaluate": False}}
MODEL_ALONE = {"trained": {"evaluate": False, "speed": False}, "theirs": {"evaluate": True}}
EDITS: dict[str, tuple[str, Callable[[Path], object], Any]] = {
    # Engine's modules: of what everybody uses, of training, of a model, of evaluating.
    "contracts": ("framework/engine/contracts/state.py", PYTHON, NONE),
    "scores": ("framework/engine/evaluate/scores.py", PYTHON, EVALUATED),
    "training": ("framework/engine/train/step.py", PYTHON, MODEL_ALONE),
    "worker": ("framework/engine/bench/worker.py", PYTHON, NONE),
    "evaluating": ("framework/engine/bench/evaluator.py", PYTHON, EVALUATED),
    "speed": ("framework/engine/bench/speed.py", PYTHON,
              {"trained": {"evaluate": True, "speed": False}, "theirs": {"evaluate": True}}),
    # Plugins.
    "plugin": ("plugins/engine_plugins/vision/small_vit.py", PYTHON, MODEL_ALONE),
    "what a plugin imports": ("plugins/engine_plugins/layers.py", PYTHON, MODEL_ALONE),
    "another plugin": ("plugins/engine_plugins/vision/timm.py", PYTHON, ALL),
    "their plugin": ("theirs/their_losses/loss.py", PYTHON, MODEL_ALONE),
    "what theirs imports": ("theirs/their_losses/factor.py", PYTHON, MODEL_ALONE),
    "their entry module": ("theirs/their_losses/__init__.py", PYTHON, MODEL_ALONE),
    "a data file of theirs": ("theirs/their_losses/more.txt", WORDS, MODEL_ALONE),
    "an unused module of theirs": ("theirs/their_losses/unused.py", PYTHON, ALL),
    "an unused package": ("theirs/unused_plugins/__init__.py", PYTHON, ALL),
    # Config and data.
    "config": ("model.yaml", lambda path: path.write_text(
        path.read_text().replace('"steps": 2', '"steps": 3')), MODEL_ALONE),
    "a picture": ("photographs/two/img/3.png", lambda path: path.write_bytes(
        path.with_name("4.png").read_bytes()), NONE),
    "right answers": ("photographs/gt.json", lambda path: path.write_text(
        path.read_text().replace('"0": 0', '"0": 1')), NONE),
    "answers": ("theirs.json", lambda path: path.write_text(
        path.read_text().replace('"0": 0', '"0": 1')),
        {"trained": ALL["trained"], "theirs": {"evaluate": False}}),
    # What no number follows from.
    "docs": ("docs/page.md", WORDS, ALL),
    "page": ("framework/engine/bench/page/core.js", WORDS, ALL),
    "page's Python": ("framework/engine/bench/page/page.py", PYTHON, ALL),
    "command line": ("framework/engine/cli/bench.py", PYTHON, ALL),
    "scaffold": ("framework/engine/scaffold/names.py", PYTHON, ALL),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("sort", EDITS)
def test_an_edit_of_a_file_of_each_sort(copy: Copy, sort: str) -> None:
    name, change, expected = EDITS[sort]
    path = copy.folder / name
    before, stat = path.read_bytes(), path.stat()
    try:
        change(path)
        assert path.read_bytes() != before
        assert copy.done() == expected
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
def test_nothing_is_measured_again_without_an_edit(copy: Copy) -> None:
    assert copy.done() == ALL
    assert copy.bench() == {}


@pytest.mark.slow
def test_a_new_version_of_a_package(copy: Copy) -> None:
    folder = copy.folder / "theirs"
    old, new = (folder / f"their_losses-{v}.dist-info" for v in ("0.1", "0.2"))
    old.rename(new)
    metadata = new / "METADATA"
    text = metadata.read_text()
    try:
        metadata.write_text(text.replace("0.1", "0.2"))
        copy.done()  # its source counts, not its version
    finally:
        metadata.write_text(text)
        new.rename(old)
    assert copy.done() == ALL


@pytest.mark.slow
def test_an_edit_changes_the_numbers_and_back(copy: Copy) -> None:
    before = copy.answers()
    path = copy.folder / "theirs" / "their_losses" / "factor.py"
    path.write_text("FACTOR = -300.0\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    logs = copy.bench()
    assert set(logs) == {"trained.0.evaluate", "trained.0.speed"}
    assert "made again: their_losses/factor.py changed" in logs["trained.0.evaluate"]
    assert copy.answers() != before
    path.write_text("FACTOR = 1.0\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    copy.bench()
    assert copy.answers() == before

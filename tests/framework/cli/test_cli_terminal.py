"""Every command with hostile names, in ASCII, and with a reader that goes away."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.cli import main
from engine.contracts.hooks import API_VERSION, Plugin, hookimpl
from engine.core.registry import Registry

Engine = Callable[..., tuple[int, str, str]]

STEER = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\u202e\u2066"
EVIL = f"зло🙂[b]{STEER}"
FORBIDDEN = {*STEER} - {*"]0;owned[2J31m"}


@pytest.fixture(autouse=True)
def hostile(tmp_path: Path, built: Path) -> None:
    """Files whose names and contents steer a terminal, in the folder that commands run in."""
    write = lambda name, text: (tmp_path / name).write_text(text, encoding="utf-8")  # noqa: E731
    (tmp_path / "artifact").symlink_to(built)
    config = (built.parent / "little.yaml").read_text(encoding="utf-8")
    write("little.yaml", config)
    write("evil.yaml", config.replace("NAME", '"a\\e[2J\\u202eb"'))
    write("wrong.yaml", config + '"a\\e[2Jb\\u009b": 1\n')
    (tmp_path / f"{EVIL}.yaml").write_text(config, encoding="utf-8")
    for name in ("d", EVIL):
        (tmp_path / "data" / name / "img").mkdir(parents=True)
        write(f"data/{name}/classes.json", json.dumps([EVIL, "кошка"]))
        for image in ("a", EVIL):
            Image.new("RGB", (20, 20), "red").save(
                tmp_path / "data" / name / "img" / f"{image}.png"
            )
        (tmp_path / "data" / name / "img" / f"broken{EVIL}.png").write_bytes(b"no")
    truth = {name: {"a": 0, EVIL: 1} for name in ("d", EVIL)}
    write("gt.json", json.dumps(truth))
    write("p.json", json.dumps({"d": {"a": 0}, EVIL: {"a": 1, EVIL: 0}}))
    write("odd.json", json.dumps({EVIL: {EVIL: EVIL}}))
    write("unknown.json", json.dumps({EVIL * 2: {EVIL: 0}}))
    rows = [{"image": i, "queries": [EVIL, f"кошка {i}"]} for i in range(4)]
    (tmp_path / "log" / "images").mkdir(parents=True)
    write("log/metadata.json", "".join(json.dumps(row) + "\n" for row in rows) + EVIL + "\n")
    for i in range(3):
        Image.new("RGB", (20, 20), (80 * i, 0, 0)).save(tmp_path / f"log/images/{i}.jpg")
    (tmp_path / "log" / "images" / "3.jpg").write_bytes(EVIL.encode())
    (tmp_path / "log" / "images" / f"{EVIL}.jpg").write_bytes(b"no")
    (tmp_path / "run").mkdir()
    trains = {"vision": True, "text": {"blocks": EVIL, "embeddings": False, "head": False},
              "vision_projection": False, "text_projection": False}  # fmt: skip
    stage = {
        "step": 2, "ended": True, "name": EVIL, "epochs": 1, "steps": 2, "parameters": 2,
        "seconds": 1.0, "samples_per_second": 1.0, "loss": None, "scores": {}, "trains": trains,
    }  # fmt: skip
    write("run/history.jsonl", json.dumps(stage) + "\n" + json.dumps({"step": 2, EVIL: 1.0}) + "\n")
    save_file({EVIL: torch.zeros(2)}, tmp_path / "odd.safetensors")


@pytest.fixture
def evil_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins whose names, summaries and errors steer a terminal."""

    def package(name: str, *found: Plugin) -> Any:
        module = ModuleType(name)
        module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
        module.engine_plugins = hookimpl(lambda: list(found))  # type: ignore[attr-defined]
        dist = SimpleNamespace(name=EVIL, version=EVIL)
        return SimpleNamespace(name=name, value=name, dist=dist, load=lambda: module)

    def fail() -> object:
        raise ImportError(EVIL)

    torn = Plugin("dataset", "torn", f"nowhere:{EVIL}", f"nowhere:{EVIL}", EVIL)
    broken = package(EVIL)
    broken.load = fail
    registry = Registry([package("one", torn), package("two", torn), broken])
    monkeypatch.setattr("engine.core.registry.default_registry", lambda: registry)


COMMANDS: dict[str, tuple[str | None, ...]] = {
    "no such command": (EVIL,),
    "no such option": ("size", f"--{EVIL}"),
    "no number": ("predict", "artifact", "data", "-o", "q.json", "--batch-size", EVIL),
    "no file": ("size", EVIL),
    "no limit": ("size", "little.yaml", "--limit", EVIL),
    "build": ("build", "evil.yaml", "-o", EVIL),
    "build, a wrong key": ("build", "wrong.yaml"),
    "build, a wrong override": ("build", "little.yaml", "--set", f"{EVIL}=1"),
    "size": ("size", f"{EVIL}.yaml"),
    "size of many": ("size", "little.yaml", "evil.yaml", f"{EVIL}.yaml"),
    "size, over the limit": ("size", "little.yaml", "--limit", "1kB"),
    "train": ("train", "evil.yaml", "-o", f"runs/{EVIL}"),
    "show": ("show", "run"),
    "show nothing": ("show", EVIL),
    "predict": ("predict", "artifact", "data", "-o", f"{EVIL}.json", "--html", f"{EVIL}.html"),
    "predict, wrong names": ("predict", "artifact", "data", "-o", "q.json", "--dataset", EVIL * 2),
    "eval": ("eval", "artifact", "data", "--truth", "gt.json"),
    "eval of a file": ("eval", "--predictions", "p.json", "--truth", "gt.json"),
    "eval of a wrong file": ("eval", "--predictions", "odd.json", "--truth", "gt.json"),
    "eval of unknown names": ("eval", "--predictions", "unknown.json", "--truth", "gt.json"),
    "bench compare": ("bench", "compare", "p.json", "gt.json", "--truth", "gt.json"),
    "bench": ("bench", "run", EVIL),
    "import": ("import", "odd.safetensors", "--config", "little.yaml"),
    "export": ("export", EVIL, "--to", "onnx"),
    "plugins": ("plugins",),
    "plugins of a kind": ("plugins", "dataset", "--traceback"),
    "plugins of no kind": ("plugins", EVIL),
    "schema": ("schema",),
    "plugin new": ("plugin", "new", EVIL, "--kind", EVIL),
    "cluster fit": ("cluster", "fit", "evil.yaml"),
    "cluster show": ("cluster", "show", EVIL),
    "data make": ("data", "make", "shapes", f"made/{EVIL}", "--count", "4", "--test-count", "10"),
    "data make nothing": ("data", "make", EVIL, "made"),
    "data verify": ("data", "verify", "log"),
    "data stats": ("data", "stats", "log", "--html", f"{EVIL}.html"),
    "data clean": ("data", "clean", "log", "-o", f"{EVIL}.json"),
    "data clean, its steps": ("data", "clean", "--steps", "log"),
    "data show": ("data", "show", "log", "-o", f"{EVIL}.html"),
    "data download": ("data", "download", "log/metadata.json", "gt.json", f"out/{EVIL}"),
}
JSON = ("size", "train", "show", "predict", "eval", "eval of a file", "bench compare", "plugins",
        "data make", "data verify", "data stats", "data clean", "data show", "build")  # fmt: skip
EVERY = [*COMMANDS, *(f"{name}, json" for name in JSON)]


def arguments(name: str) -> list[str]:
    plain = name.removesuffix(", json")
    more = ["--json"] if name != plain else []
    return [*map(str, COMMANDS[plain]), *more]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_that_steers_a_terminal_is_printed(
    engine: Engine, request: pytest.FixtureRequest, name: str
) -> None:
    if "plugins" in name:
        request.getfixturevalue("evil_plugins")
    code, out, err = engine(*arguments(name))
    assert code in (0, 1, 2), err
    assert not FORBIDDEN & {*out, *err}, ascii(out + err)
    if name.endswith("json"):
        assert isinstance(json.loads(out), dict)


def in_ascii(capture: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(capture, encoding="ascii", errors="strict", write_through=True)


@pytest.mark.parametrize("name", EVERY)
def test_ascii(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """PYTHONIOENCODING=ascii, which is strict; the exit code is that of UTF-8."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["engine", *arguments(name)])
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", in_ascii(out))
    monkeypatch.setattr(sys, "stderr", in_ascii(err))
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert stop.value.code in (0, 1, 2), err.getvalue()
    assert (out.getvalue() + err.getvalue()).isascii()
    if name.endswith("json"):
        assert isinstance(json.loads(out.getvalue()), dict)


@pytest.mark.parametrize("name", EVERY)
def test_a_reader_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine, name: str
) -> None:
    """``engine ... 2>&1 | head``: the work is done, and the exit code is the work's."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["engine", *arguments(name)])
    with monkeypatch.context() as patch, os.fdopen(writing, "w", encoding="utf-8") as pipe:
        patch.setattr(sys, "stdout", pipe)
        patch.setattr(sys, "stderr", pipe)
        with pytest.raises(SystemExit) as stop:
            main.run()
    assert stop.value.code == engine(*again(arguments(name)))[0]


def again(given: list[str]) -> list[str]:
    """The command a second time: what may not stand there already goes elsewhere."""
    return [each.replace("runs/", "others/").replace("made/", "more/") for each in given]


@pytest.mark.parametrize("given", [["plugins"], ["schema"], ["--help"], ["size", "little.yaml"]])
@pytest.mark.parametrize("how", ["head", "ascii", "closed", "full"])
def test_a_process_of_its_own(tmp_path: Path, given: list[str], how: str) -> None:
    """What only a whole process shows: no traceback at its end, the exit code of the shell."""
    command = " ".join([sys.executable, "-m", "engine", *given])
    line, code = {
        "head": (f"{command} | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}", 0),
        "ascii": (
            f"PYTHONIOENCODING=ascii LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {command}",
            0,
        ),
        "closed": (f"{command} >&-", 0),
        "full": (f"{command} >/dev/full", 2),
    }[how]
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if how == "full":
        assert b"stdout cannot be written: No space left on device" in done.stderr
    else:
        assert done.stderr == b""

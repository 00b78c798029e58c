"""Commands of plugins: listed without their code, run with it, and what is said when one fails."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import main
from engine.cli.commands import OWN
from engine.contracts.command import BUILT_IN
from engine.contracts.hooks import Plugin
from engine.errors import PluginError

ROOT = Path(__file__).resolve().parents[3]
Call = Callable[..., subprocess.CompletedProcess[str]]

REGISTERS = """\
from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"

@hookimpl
def engine_plugins():
    return [Plugin("command", {name!r}, "{module}.commands:{target}", summary="A summary.")]
"""
WRONG = """\
from engine.contracts import Command

class NoApp(Command):
    def app(self):
        return 3

class Fails(Command):
    def app(self):
        raise ValueError("no luck")
"""


def distribution(folder: Path, module: str, files: dict[str, str]) -> Path:
    """Lay a package down as an installer does."""
    (folder / module).mkdir(parents=True)
    for name, text in files.items():
        (folder / module / name).write_text(text, encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[engine]\n{module} = {module}\n")
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Call:
    """The command line with the packages of ``tmp_path``; says which modules were imported."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        code = (
            "import sys, atexit; from engine.cli.main import run\n"
            "atexit.register(lambda: print('LOADED', [m for m in sys.modules if m == 'torch'"
            " or m.endswith('.commands') and not m.startswith('engine.')], file=sys.stderr))\n"
            "run()"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}, cwd=tmp_path,
        )  # fmt: skip

    return call


@pytest.fixture
def hello(tmp_path: Path) -> None:
    source = ROOT / "tests" / "packages" / "engine-hello" / "src" / "engine_hello"
    files = {path.name: path.read_text(encoding="utf-8") for path in source.glob("*.py")}
    distribution(tmp_path, "engine_hello", files)


def test_the_built_in_names_are_those_of_the_command_line() -> None:
    assert set(OWN) == BUILT_IN


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_own_command_is_where_the_table_says(name: str) -> None:
    done = CliRunner().invoke(main.app, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert f"Usage: engine {name}" in done.output


MISUSED = [
    (["prdict"], "engine has no command `prdict` (did you mean `predict`?)"),
    (["data", "downlod"], "No such command 'downlod'."),
    (["--nothing"], "No such option: --nothing"),
    (["size", "--limt", "5MB"], "No such option: --limt"),
    (["size"], "Missing argument"),
    (["predict", "x", "y", "--classes", "a"], "Missing option '-o'"),
    (["serve", "x", "--port", "many"], "Invalid value for '--port'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISUSED)
def test_a_misused_command_is_reported_as_every_error_is(
    arguments: list[str], message: str
) -> None:
    script = "from engine.cli import main\nmain.run()"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert "\nhint: `" in done.stderr
    assert "Usage" not in done.stdout + done.stderr


def test_shell_completion_knows_the_commands() -> None:
    script = "import sys; sys.argv[0] = 'engine'\nfrom engine.cli import main\nmain.run()"
    asked = {"_ENGINE_COMPLETE": "complete_bash", "COMP_WORDS": "engine pre", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        env={**os.environ, **asked}, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["predict"]


@pytest.mark.parametrize(
    ("arguments", "modules"), [(["--help"], set()), (["size", "--help"], {"engine.cli.size"})]
)
def test_help_imports_no_command_but_its_own(arguments: list[str], modules: set[str]) -> None:
    script = (
        "import sys, atexit\nfrom engine.cli import commands, main\n"
        "atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr))\nmain.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    own = {f"engine.cli.{place.partition(':')[0]}" for place, _ in OWN.values()}
    assert loaded & own == modules
    assert not loaded & {"torch", "numpy", "PIL", "aiohttp", "transformers"}


@pytest.mark.usefixtures("hello")
def test_help_lists_commands_without_importing_their_code(engine: Call) -> None:
    done = engine("--help")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["hello", "Greet", "somebody."] in lines
    assert ["count", "Count", "what", "there", "is."] in lines
    assert "LOADED []" in done.stderr


@pytest.mark.usefixtures("hello")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["hello", "Anna"], 0, "hello Anna"),
        (["hello", "Anna", "--loud"], 0, "HELLO ANNA"),
        (["engine_hello:hello", "Anna"], 0, "hello Anna"),
        (["hello", "--help"], 0, "Who is greeted."),
        (["hello", "-h"], 0, "Greet somebody by name."),
        (["hello"], 2, "Missing argument"),
        (["count", "plugins"], 0, "command 3"),  # the built-in demo, too
        (["count", "--help"], 0, "How many lines a file has."),
        (["count", "lines", "nothing.txt"], 2, "error: nothing.txt"),
        (["helo"], 2, "has no command `helo`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_run(engine: Call, arguments: list[str], code: int, words: str) -> None:
    done = engine(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("wrong", "NoApp", "app() gave 3, neither a typer.Typer nor a function"),
        ("wrong", "Fails", "ValueError: no luck"),
        ("wrong", "Nothing", "cannot import broken_package.commands:Nothing"),
        ("build", "NoApp", "command `build`: Engine has a command of that name"),
    ],
)
def test_a_command_that_cannot_be(
    engine: Call, tmp_path: Path, name: str, target: str, words: str
) -> None:
    files = {
        "__init__.py": REGISTERS.format(name=name, module="broken_package", target=target),
        "commands.py": WRONG,
    }
    distribution(tmp_path, "broken_package", files)
    assert engine("--help").returncode == 0
    if name in BUILT_IN:  # the package is broken; Engine's own command is what it was
        assert "A config becomes a model on disk." in engine("--help").stdout
        done = engine("plugins")
        assert words in done.stdout
        assert "broken_package" in engine("no-such-command").stderr
        return
    done = engine(name)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_command_cannot_be_replaced(name: str) -> None:
    with pytest.raises(PluginError, match=f"command `{name}`: Engine has a command of that name"):
        Plugin("command", name, "a:B")


@pytest.mark.parametrize("name", ["--help", "-x", "", "Hello", "two words", "a.b", "ä", "1st"])
def test_names_that_no_command_has(name: str) -> None:
    with pytest.raises(PluginError, match="expected lower-case letters"):
        Plugin("command", name, "a:B")

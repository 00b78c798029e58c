"""A clean virtual environment with Engine in it, made without a network.

Engine itself is installed from a wheel that is built here, as anybody would get it; what it
depends on (torch and so on) is seen through a path file, not installed again. Nothing that is
installed, uninstalled or broken in it touches the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_SOURCES = ("framework", "plugins", "pyproject.toml", "README.md")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")

# Without a network pip must neither look for packages nor make an environment to build in.
_OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way of switching an option off
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_QUIET": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # so small a model gains nothing by two, and suffers on a busy machine
    "COLUMNS": "120",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: where it is.
        variables: of every command that runs in it.
    """

    folder: Path
    variables: Mapping[str, str] = field(repr=False)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command, whose output is kept."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd, env=dict(self.variables), capture_output=True, text=True,
        )  # fmt: skip

    def done(self, *command: str | Path, cwd: Path) -> str:
        """The stdout of a command that must do well."""
        finished = self.run(*command, cwd=cwd)
        words = " ".join(map(str, command))
        assert finished.returncode == 0, f"{words}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout

    def wheel(self, source: Path, into: Path) -> Path:
        """Build the wheel of a source tree, which stays as it was."""
        into.mkdir(parents=True, exist_ok=True)
        copy = into / f"source of {source.name}"
        shutil.copytree(source, copy, ignore=_LEFT_OUT)
        before = set(into.glob("*.whl"))
        self.done("pip", "wheel", "--no-deps", "--wheel-dir", into, copy, cwd=into)
        (made,) = set(into.glob("*.whl")) - before
        return made


def make(folder: Path) -> Environment:
    """A new environment with nothing in it but pip and Engine."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    own = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    ours = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    # A plain line adds a path and reads no path files there: an editable Engine stays unseen.
    (own / "of_the_tests.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON", "VIRTUAL"))}
    environment = Environment(folder, {**kept, **_OFFLINE, "PATH": path})
    if (own / "setuptools").is_dir():  # older Pythons bring one that is too old to build with
        environment.done("pip", "uninstall", "--yes", "setuptools", cwd=folder)
    source = folder / "engine"
    source.mkdir()
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=_LEFT_OUT)
        else:
            shutil.copy(ROOT / name, source / name)
    environment.done("pip", "install", "--no-deps", source, cwd=folder)
    _add_pytest(environment)
    return environment


def _add_pytest(environment: Environment) -> None:
    """The command `pytest`, which would come with the package."""
    script = environment.python.with_name("pytest")
    lines = (f"#!{environment.python}", "import pytest", "raise SystemExit(pytest.main())")
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    script.chmod(0o755)

"""Which plugin API a package needs: read from its source, reported before any of its code runs."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts.hooks import API_VERSION
from engine.core.plugin_api import ApiMismatchError, check_api, declared_api
from engine.core.registry import Registry
from engine.errors import PluginError

OFFERING = """\
from engine.contracts.hooks import Plugin, hookimpl

@hookimpl
def engine_plugins():
    return [Plugin("dataset", "theirs", "nowhere:Class")]
"""
RUN = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.mark.parametrize(
    ("needed", "offered"),
    [("1", "1.0"), ("1.0", "1.0"), ("1.2", "1.2"), ("1.2", "1.10"), ("3", "3.1")],
)
def test_what_fits(needed: str, offered: str) -> None:
    check_api(needed, "my-package", offered)


@pytest.mark.parametrize(
    ("needed", "offered", "words"),
    [
        ("2", "1.0", "needs plugin API 2, this Engine offers 1.0: upgrade engine-towers (or install"
         " an older my-package)"),
        ("1.3", "1.2", "upgrade engine-towers"),
        ("1.10", "1.9", "upgrade engine-towers"),
        ("1.7", "2.0", "needs plugin API 1.7, this Engine offers 2.0: upgrade my-package (or"
         " install an older engine-towers)"),
    ],
)  # fmt: skip
def test_who_is_to_be_upgraded(needed: str, offered: str, words: str) -> None:
    with pytest.raises(ApiMismatchError, match=re.escape(words)) as error:
        check_api(needed, "my-package", offered)
    assert error.value.needed == needed


@pytest.mark.parametrize("needed", [1, 1.0, "", "one", "1.", "v1", "1.0.0", ("1",), True])
def test_what_is_no_version(needed: object) -> None:
    with pytest.raises(PluginError, match=re.escape(f"ENGINE_API is {needed!r}")) as error:
        check_api(needed, "my-package")
    assert not isinstance(error.value, ApiMismatchError)


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_the_rule(numbers: tuple[int, int, int, int]) -> None:
    major, minor, offered, newest = numbers
    if major == offered and minor <= newest:
        check_api(f"{major}.{minor}", "p", f"{offered}.{newest}")
        return
    newer = (major, minor) > (offered, newest)
    with pytest.raises(ApiMismatchError, match="upgrade engine-towers" if newer else "upgrade p "):
        check_api(f"{major}.{minor}", "p", f"{offered}.{newest}")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that Python imports from."""
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def write(folder: Path, module: str, text: str) -> None:
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def load(module: str) -> Registry:
    return Registry([EntryPoint("theirs", module, "engine")])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('ENGINE_API = "1.4"', "1.4"), ('ENGINE_API: str = "2"', "2"), ("ENGINE_API = 1", 1),
        ('x = ENGINE_API = "1.5"', "1.5"), ("ENGINE_API = '1.' + '0'", None), ("", None),
        ("ENGINE_API: str", None), ("def f():\n    ENGINE_API = '7'", None), ("(", None),
        ('"""ENGINE_API = "9" """', None),
    ],
)  # fmt: skip
def test_the_source_is_read_and_not_run(package: Path, line: str, found: object) -> None:
    write(package, "read_only_package.__init__", f"{RUN}{line}\n")
    assert declared_api("read_only_package") == found
    assert not (package / "read_only_package" / "ran").exists()


def test_a_module_inside_of_a_package_and_one_that_is_not_there(package: Path) -> None:
    write(package, "outer_package.__init__", RUN)
    write(package, "outer_package.inner", 'ENGINE_API = "1.0"\n')
    assert declared_api("outer_package.inner") == "1.0"
    assert not (package / "outer_package" / "ran").exists()
    for name in ("outer_package.nothing", "no_such_package", "no_such.at_all", "sys", "", "."):
        assert declared_api(name) is None


def test_a_mismatch_is_reported_before_the_package_runs(package: Path) -> None:
    text = (
        f'{RUN}ENGINE_API = "99"\nfrom engine.contracts.hooks import what_comes_one_day\n{OFFERING}'
    )
    write(package, "from_the_future.__init__", text)
    registry = load("from_the_future")
    (broken,) = registry.broken
    assert broken.error == (
        f"needs plugin API 99, this Engine offers {API_VERSION}: upgrade engine-towers (or install"
        " an older unknown package)"
    )
    assert broken.needs_api == "99"
    assert not registry.all()
    assert not (package / "from_the_future" / "ran").exists()
    assert "from_the_future" not in sys.modules


def test_packages_that_fit_and_one_that_says_nothing(package: Path) -> None:
    for module, version in (("says_major", "2"), ("says_it", API_VERSION)):
        write(package, module, f'ENGINE_API = "{version}"\n{OFFERING}')
        registry = load(module)
        assert not registry.broken
        assert registry.names("dataset") == ["theirs"]
    for module, line in (("says_nothing", ""), ("says_old", 'ENGINE_API = "1.0"\n')):
        write(package, module, line + OFFERING)
        (broken,) = load(module).broken
        assert broken.needs_api == "1.0"
        assert "upgrade unknown package" in broken.error


def test_what_a_computed_version_says_after_the_import(package: Path) -> None:
    write(package, "computes_it", f'ENGINE_API = ".".join(["2", "99"])\n{OFFERING}')
    (broken,) = load("computes_it").broken
    assert "needs plugin API 2.99" in broken.error


def test_a_version_that_is_none_is_a_broken_package(package: Path) -> None:
    write(package, "says_nonsense", f"ENGINE_API = 1.0\n{OFFERING}")
    (broken,) = load("says_nonsense").broken
    assert "PluginError: ENGINE_API is 1.0: expected a text such as '1.0'" in broken.error
    assert broken.needs_api is None


def test_the_command_line_tells_it_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "their_package.__init__", f'ENGINE_API = "3.2"\n{OFFERING}')
    info = tmp_path / "their_package-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[engine]\ntheir_package = their_package\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}

    def call(*arguments: str) -> str:
        code = "from engine.cli.main import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", code, "plugins", *arguments],
            capture_output=True, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = call()
    assert (
        "BROKEN  their-package 0.1 (their_package = their_package): needs plugin API 3.2, this"
        f" Engine offers {API_VERSION}: upgrade engine-towers (or install an older their-package)"
    ) in said
    assert "shapes" in said
    loaded = json.loads(call("--json"))
    assert loaded["api"] == API_VERSION
    (broken,) = loaded["broken"]
    assert (broken["distribution"], broken["needs_api"]) == ("their-package", "3.2")

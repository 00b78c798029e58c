"""What every test stands on: no hub is asked for anything, and each test has its own folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: it reads this once
os.environ["TOKENIZERS_PARALLELISM"] = "false"

os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - on a busy machine it would starve them
os.environ["ENGINE_VERIFY"] = "always"  # tests leave nothing in the user's cache

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Reports that xdist can send: tests print lone surrogates on purpose, which UTF-8 has not."""
    data = yield
    return _encodable(data)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_encodable, value))
    return value


@pytest.fixture(autouse=True)
def no_modules_of_a_test_stay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Modules that a test wrote and imported are forgotten: the next test must not see them."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - before:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and file.startswith(folder):
            del sys.modules[name]


@pytest.fixture
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture
def contest_sample() -> Path:
    """The 570 real photographs; skips where they do not lie beside the project."""
    folder = ROOT.parent / "shared" / "data" / "contest_sample"
    if not folder.is_dir():
        pytest.skip("the contest's sample does not lie in ../shared/data beside the project")
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[str]:
    """The server of commands (see ``scaffold/warm.py``) of the Python that runs the tests."""
    from .scaffold.warm import server

    with server(sys.executable, os.environ) as path:
        yield path


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """Ray, connected to a cluster of three slots on this machine."""
    ray = pytest.importorskip("ray", reason="Ray is optional")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()

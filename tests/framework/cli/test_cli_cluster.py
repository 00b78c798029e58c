"""`engine cluster` as a user runs it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.cli import main
from engine.clusters import read, read_clustered
from engine.core.artifact import read_manifest
from engine.core.build import read_artifact, save
from engine.errors import ArtifactError

Engine = Callable[..., tuple[int, str, str]]
FILES = ["clusters.html", "clusters.json", "clusters.safetensors"]


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, root_folder: Path) -> Path:
    """Clusters of a few drawn shapes."""
    path = tmp_path_factory.mktemp("configs") / "mine.yaml"
    path.write_text(
        f"extends: {root_folder}/configs/tiny/sber_cluster.yaml\n"
        "name: mine\n"
        "data: {train: {use: shapes, size: 16, count: 60}}\n"
        "clusters: {embedder: {use: tfidf_svd, width: 16}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="session")
def root_folder() -> Path:
    return Path(__file__).resolve().parents[3]


def test_fit_show_assign(engine: Engine, config: Path) -> None:
    code, out, err = engine("cluster", "fit", config)
    assert code == 0, err
    assert "clusters: 10 of" in out
    assert "which no limit counts" in out
    folder = Path("build/mine")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert list(Path("build").iterdir()) == [folder]

    code, out, err = engine("cluster", "show", folder, "--html", "pages/c.html")
    assert code == 0, err
    assert Path("pages/c.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "written to pages/c.html" in out
    clusters = read(folder)
    assert clusters.names[0].split(",")[0] in out

    lines = ["красный круг", "", "синий\tквадрат", "\x1b[2J", "qqq"]
    code, out, err = engine("cluster", "assign", folder, stdin="\n".join(lines).encode())
    assert code == 0, err
    rows = [line.split("\t", 2) for line in out.split("\n")[:-1]]
    assert [row[2] for row in rows] == lines
    assert [int(row[0]) for row in rows] == clusters.assign(lines).tolist()
    assert rows[0][1] == clusters.names[int(rows[0][0])]
    assert rows[1][:2] == ["-1", ""]


def test_json(engine: Engine, config: Path) -> None:
    code, out, err = engine("cluster", "fit", config, "-o", "here", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["count"] == len(report["clusters"]) == 10
    assert report["embedder"]["use"] == "tfidf_svd"
    assert report["bytes"]["clusters.json"] == Path("here/clusters.json").stat().st_size
    code, out, _ = engine("cluster", "show", "here", "--json", "--html", "c.html")
    shown = json.loads(out)
    assert shown["html"] == "c.html"
    assert shown["clusters"] == report["clusters"]
    code, out, _ = engine("cluster", "assign", "here", "--json", stdin="круг\n\nq".encode())
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["query"] for row in rows] == ["круг", "", "q"]
    assert [sorted(row) for row in rows] == [["cluster", "name", "query"]] * 3
    assert rows[1]["cluster"] == -1


def test_build_fits_them_and_fit_renews_them(engine: Engine, config: Path) -> None:
    engine("cluster", "fit", config)
    code, out, err = engine("build", config)  # takes the place of the clusters alone
    assert code == 0, err
    assert "clusters: 10 of" in out
    folder = Path("build/mine")
    manifest = read_manifest(folder)
    assert manifest["clusters"]["embedder"]["use"] == "tfidf_svd"
    assert set(FILES[1:]) <= set(manifest["files"])
    weights = manifest["files"]["model.safetensors"]

    change = ["--set", "clusters.clusterer.neighbours=2"]
    code, out, err = engine("cluster", "fit", config, *change)
    assert code == 0, err
    renewed = read_manifest(folder)  # every digest is checked
    assert renewed["files"]["model.safetensors"] == weights
    assert renewed["clusters"]["clusterer"]["neighbours"] == 2
    assert set(renewed["files"]) == set(manifest["files"]) | {"clusters.html"}
    built = read_clustered(folder)
    assert built.config.clusters is not None
    assert built.config.clusters.clusterer.settings.neighbours == 2  # type: ignore[attr-defined]
    assert built.clusters is not None
    assert read_artifact(folder).clusters is None
    save(built, Path("copy"))
    assert read(Path("copy")).document == built.clusters.document
    assert sorted(path.name for path in Path("build").iterdir()) == ["mine"]


def test_an_artifact_of_another_config_is_left_alone(engine: Engine, config: Path) -> None:
    engine("build", config)
    before = Path("build/mine/engine.json").read_bytes()
    code, _, err = engine(
        "cluster", "fit", config, "--set", "seed=5", "--set", "data.train.count=50"
    )
    assert code == 2
    assert "they differ in data, seed" in err
    assert Path("build/mine/engine.json").read_bytes() == before


def test_a_trained_model_keeps_its_clusters(engine: Engine, config: Path) -> None:
    engine("build", config)
    built = read_clustered("build/mine")
    built.manifest["stages"] = [{"name": "first"}]
    save(built, Path("build/mine"))
    code, _, err = engine("cluster", "fit", config)
    assert code == 2
    assert "is a trained model" in err


def test_a_folder_of_the_users_is_left_alone(engine: Engine, config: Path) -> None:
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"x")
    code, _, err = engine("cluster", "fit", config, "-o", "photos")
    assert code == 2
    assert "is not an artifact" in err
    assert [path.name for path in Path("photos").iterdir()] == ["cat.jpg"]


def test_the_stand_in_is_reported_everywhere(engine: Engine, config: Path) -> None:
    embedder = (
        "clusters.embedder={use: sentence_transformer, model: 'hf:nobody/nothing',"
        " otherwise: {use: tfidf_svd, width: 16}}"
    )
    code, _, err = engine("build", config, "--set", embedder)
    assert code == 0, err
    assert "STANDS IN for the embedder" in " ".join(err.split())
    assert read_manifest(Path("build/mine"))["clusters"]["asked"]["model"] == "hf:nobody/nothing"
    assert any("STANDS IN" in warning for warning in read_artifact("build/mine").warnings)
    code, _, err = engine("cluster", "show", "build/mine")
    assert code == 0
    assert "STANDS IN" in err
    code, _, err = engine("cluster", "assign", "build/mine", stdin="круг".encode())
    assert code == 0
    code, _, err = engine(
        "cluster", "fit", config, "-o", "x", "--set", embedder.split(", otherw")[0] + "}"
    )
    assert code == 2
    assert "hf:nobody/nothing" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "CONFIG", "--set", "clusters.clusterer.count=1"], "at least 2"),
        (["fit", "CONFIG", "--set", "clusters.embedder.use=tfidf"], "did you mean `tfidf_svd`"),
        (["fit", "CONFIG", "--set", "clusters.clusterer.count=11"], "11 clusters, and"),
        (["show", "nowhere"], "holds no clusters"),
        (["assign", "nowhere"], "holds no clusters"),
        (["show", ".", "--html", "."], "is a folder"),
    ],
)
def test_bad_input(engine: Engine, config: Path, arguments: list[str], message: str) -> None:
    given = [str(config) if word == "CONFIG" else word for word in arguments]
    code, out, err = engine("cluster", *given, stdin=b"")
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert not Path("build").exists()


def test_nothing_on_stdin(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    code, _, err = engine("cluster", "assign", "x")
    assert code == 2
    assert "< queries.txt" in err


def test_read_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="engine cluster fit"):
        read(tmp_path)


def test_assign_stops_where_nobody_reads(
    engine: Engine, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``engine cluster assign ... | head``: queries that never end, and a closed pipe."""

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, target: Any) -> int:
            read.append(len(target))
            assert len(read) < 50, "it goes on reading"
            target[:] = ("круг\n" * len(target)).encode()[: len(target)]
            return len(target)

    read: list[int] = []
    engine("cluster", "fit", config, "-o", "here")
    reading, writing = os.pipe()
    os.close(reading)
    with monkeypatch.context() as patch, os.fdopen(writing, "w", encoding="utf-8") as pipe:
        stdin = SimpleNamespace(buffer=io.BufferedReader(Endless()), isatty=lambda: False)
        patch.setattr(sys, "stdin", stdin)
        patch.setattr(sys, "stdout", pipe)
        patch.setattr(sys, "argv", ["engine", "cluster", "assign", "here"])
        with pytest.raises(SystemExit) as stop:
            main.run()
    assert stop.value.code == 0
    assert read

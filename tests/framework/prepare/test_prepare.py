"""Prepared data: the numbers of training without them, found only where nothing changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.config.schema import EngineConfig
from engine.errors import ConfigError, EngineError
from engine.prepare import chunks, folder, work
from engine.prepare.folder import PreparedFolder, reading_of
from engine.prepare.store import DamagedPartError, Parts, read, writing
from engine.prepare.work import Share, prepare
from engine.train import run as run_module
from engine.train.parts import resolve
from engine.train.run import train, training_rows

Make = Callable[..., EngineConfig]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts of forty rows."""
    real = chunks.chunk_ranges
    monkeypatch.setattr(work, "chunk_ranges", lambda rows: real(rows, 7))


def model_of(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was prepared may be computed."""

    def computed(*_: object, **__: object) -> None:
        raise AssertionError("it was computed")

    monkeypatch.setattr(run_module, "build_clustered", computed)
    monkeypatch.setattr(run_module, "label_dataset", computed)
    monkeypatch.setattr("engine.train.data.read_tables", computed)


@pytest.mark.parametrize("clusters", [False, True])
def test_training_reads_them_and_gives_the_same_weights(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, clusters: bool
) -> None:
    sampler = ["train.stages.0.sampler.use=in_cluster"] if clusters else []
    config = make_config(*sampler, clusters=clusters)
    train(config, Path("without"))
    found = prepare(config)
    assert (found.rows, found.missing, found.clusters) == (40, 0, clusters)
    assert found.texts == sum(1 + n % 3 for n in range(40))
    forbid(monkeypatch)
    train(config, Path("with"))
    assert model_of(Path("with")) == model_of(Path("without"))
    assert not list(Path("prepared").glob("*.parts"))


def test_a_stop_keeps_the_finished_parts(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(clusters=True)
    real, made = work.read_chunk, []

    def stopping(dataset: Any, rows: range, reading: Any) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(rows.start)
        return real(dataset, rows, reading)

    monkeypatch.setattr(work, "read_chunk", stopping)
    with pytest.raises(KeyboardInterrupt) as caught:
        prepare(config)
    assert "same command goes on" in caught.value.__notes__[0]
    monkeypatch.setattr(work, "read_chunk", lambda *a: made.append(a[1].start) or real(*a))
    assert prepare(config).missing == 0
    assert made == [0, 7, 14, 21, 28, 35]
    assert prepare(config).missing == 0
    assert len(made) == 6


def test_workers_share_the_parts_and_the_last_joins_them(make_config: Make) -> None:
    config = make_config(clusters=True)
    whole = prepare(config)
    expected = {path.name: path.read_bytes() for path in Path("prepared").rglob("*.npy")}
    shutil.rmtree("prepared")
    left = [prepare(config, Share(number, 3)).missing for number in range(3)]
    assert left == [8, 4, 0]  # of six parts of two tables
    again = {path.name: path.read_bytes() for path in Path("prepared").rglob("*.npy")}
    assert again == expected
    assert prepare(config) == whole


def _other_text(log: Path) -> None:
    lines = (log / "metadata.json").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[3])
    about = (log / "metadata.json").stat()
    lines[3] = json.dumps({**row, "queries": [q.replace("white", "black") for q in row["queries"]]})
    (log / "metadata.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.utime(log / "metadata.json", ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES: dict[str, tuple[str, ...]] = {
    "tokens": ("model.text.max_tokens=12",),
    "vocabulary": ("model.text.vocab_size=40",),
    "language": ("train.languages=[ru]",),
}


@pytest.mark.parametrize("change", ["a text", *CHANGES])
def test_nothing_stale_is_used(make_config: Make, log: Path, change: str) -> None:
    config = make_config()
    prepare(config)
    if change == "a text":
        _other_text(log)
    other = make_config(*CHANGES.get(change, ()))
    opened = PreparedFolder.of(other).open()
    built = opened.start(other) or folder.build_clustered(other)
    assert opened.tables(reading_of(other, built)) is None
    assert (opened.start(other) is None) == (change not in ("language",))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["tables-*/tokens.npy", "labels-*/rows.npy", "index-*/starts.npy"])
def test_damage_is_said_and_computed_instead(
    make_config: Make, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(clusters=True)
    prepare(config)
    opened = PreparedFolder.of(config).open()
    built = opened.start(config)
    assert built is not None
    whole = training_rows(resolve(config, Path("run")).data, built, opened)
    (path,) = Path("prepared").glob(name)
    damage(path)
    again = PreparedFolder.of(config).open()
    rows = training_rows(resolve(config, Path("run")).data, built, again)
    assert any(path.parent.name in line for line in caplog.messages)
    assert np.array_equal(rows.sequence, whole.sequence)
    assert rows.clusters is not None
    assert whole.clusters is not None
    assert np.array_equal(rows.clusters, whole.clusters)
    assert prepare(config).missing == 0
    caplog.clear()
    training_rows(resolve(config, Path("run")).data, built, PreparedFolder.of(config).open())
    assert not caplog.messages


def test_a_damaged_part_is_computed_again(make_config: Make) -> None:
    config = make_config()
    whole = prepare(config)
    shutil.rmtree(next(Path("prepared").glob("tables-*")))
    assert prepare(config, Share(0, 2)).missing == 3
    for part in Path("prepared").glob("*.parts/*.npz"):
        _cut(part)
    assert prepare(config).missing == 0
    assert prepare(config) == whole


def test_data_sets_without_a_fingerprint_are_read_for_one(make_config: Make) -> None:
    config = make_config("data.train={use: shapes, count: 12, size: 16}")
    assert config.data.train is not None
    assert config.data.train.target().fingerprint(config.data.train.settings) is None
    assert prepare(config).rows == 12
    opened = PreparedFolder.of(config).open()
    built = opened.start(config)
    assert built is not None
    assert opened.tables(reading_of(config, built)) is not None
    other = make_config("data.train={use: shapes, count: 13, size: 16}")
    assert PreparedFolder.of(other).open().start(other) is None


def test_a_config_that_trains_nothing_is_refused(make_config: Make) -> None:
    config = make_config()
    with pytest.raises(ConfigError, match="nothing to prepare"):
        prepare(config.model_copy(update={"train": None}))


def test_arrays_come_back_read_only_and_shared(tmp_path: Path) -> None:
    with writing(tmp_path / "a", {"what": "a test"}) as files:
        files.add("long", np.arange(10_000, dtype=np.uint32))
        files.add("empty", np.zeros((0, 2), np.float32))
    found = read(tmp_path / "a")
    assert found["long"].tolist() == list(range(10_000))
    assert found["empty"].shape == (0, 2)
    with pytest.raises(ValueError, match="read-only"):
        found["long"][0] = 1
    assert isinstance(found["long"].base, np.memmap)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "b")
    (tmp_path / "a" / "about.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DamagedPartError):
        read(tmp_path / "a")


def test_a_part_is_whole_or_missing(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "parts", 3)
    parts.write(1, {"a": np.arange(3)})
    assert parts.missing() == [0, 2]
    (tmp_path / "parts" / "000002.npz").write_bytes(b"PK\x03\x04 not a part")
    with pytest.raises(DamagedPartError):
        parts.read(2)
    assert parts.missing() == [0, 2]


def test_the_command(make_config: Make, log: Path, capfd: Any, monkeypatch: Any) -> None:
    from engine.cli import main

    make_config()
    seen = []
    for arguments in (
        ["--worker", "1/2", "--json"], ["--worker", "2/2"], ["--json"], ["--worker", "3/2"],
        ["--worker", "x"],
    ):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["engine", "data", "prepare", "config.yaml", *arguments])
        code = 0
        try:
            main.run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        seen.append((code, *capfd.readouterr()))
    assert [code for code, _, _ in seen] == [0, 0, 0, 2, 2]
    assert json.loads(seen[0][1])["missing"] == 3
    assert "40 rows" in seen[1][1]
    assert json.loads(seen[2][1])["sequences"] > 0
    assert "expected I/N" in seen[3][2]


def test_the_folder_may_be_a_file(make_config: Make, tmp_path: Path) -> None:
    (tmp_path / "prepared").write_text("", encoding="utf-8")
    with pytest.raises((EngineError, OSError)):
        prepare(make_config())


@pytest.mark.slow
def test_workers_on_ray_prepare_what_one_process_prepares(
    log: Path, make_config: Make, ray_cluster: Any
) -> None:
    from engine.train.on_ray import prepare_on_ray

    config = make_config()
    prepare_on_ray(config, workers=2)
    made = Path("prepared")
    names = sorted(path.name for path in made.iterdir() if not path.name.startswith("."))
    assert any(name.startswith("tables-") for name in names)
    assert not any(name.endswith(".parts") for name in names)
    made.rename("on_ray")
    prepare(config)
    for name in names:
        if not name.startswith("tables-"):
            continue
        for path in sorted((made / name).iterdir()):
            assert path.read_bytes() == (Path("on_ray") / name / path.name).read_bytes()

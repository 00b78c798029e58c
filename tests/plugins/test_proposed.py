"""What plugins propose for published models, held to the configs of these in configs/models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.core.config import load_config
from engine.core.descriptions import PICTURES, describe_files, describe_open_clip
from engine.core.registry import default_registry

MODELS = Path(__file__).parents[2] / "configs" / "models"
KINDS = {"vision": "vision_tower", "text": "text_encoder"}
OPEN_CLIP = {
    "ViT-B-32-SigLIP2-256": "webli",
    "ViT-B-16-SigLIP2-256": "webli",
    "ViT-B-16-SigLIP-i18n-256": "webli",
    "xlm-roberta-base-ViT-B-32": "laion5b_s13b_b90k",
    "xlm-roberta-large-ViT-H-14": "frozen_laion5b_s13b_b90k",
    "MobileCLIP2-S0": "dfndr2b",
    "nllb-clip-base-siglip": "v1",
}
FREE = {"weights", "tokenizer", "arch", "image_size", "quick_gelu"}
"""Settings that a config may leave to others: an architecture's name stands for its numbers."""


def proposals(part: str, found: list[Any]) -> dict[str, Any]:
    main = next(one for one in found if not one.aside)
    aside = [one for one in found if one.aside]
    registry = default_registry()
    settings = {
        name: registry.get(KINDS[part], name).load_settings()
        for name in registry.names(KINDS[part])
    }
    made: dict[str, Any] = {
        name: (one, one.propose(main, aside))  # type: ignore[attr-defined]
        for name, one in settings.items()
    }
    return {name: (one, found) for name, (one, found) in made.items() if found is not None}


@pytest.mark.parametrize("part", list(KINDS))
@pytest.mark.parametrize("arch", list(OPEN_CLIP))
def test_open_clip(arch: str, part: str) -> None:
    source = f"open_clip:{arch}/{OPEN_CLIP[arch]}"
    config = load_config(MODELS / f"{arch}.yaml")
    found = proposals(part, describe_open_clip(source, part))
    use = getattr(config.model, part)
    assert list(found) == [use.name]
    settings, proposal = found[use.name]
    assert proposal.embed_dim == config.model.embed_dim
    projection = getattr(config.model.projection, part)
    assert proposal.projection["use"] == projection.name
    given = dict(proposal.settings)
    if part == "text":
        own_tokens = use.settings.tokenizer
        rest = own_tokens.settings.model_dump(by_alias=True)
        given["tokenizer"] = {"use": own_tokens.name, **rest}
    made = settings.model_validate(given, context={"registry": default_registry()})
    expected, own = use.settings.model_dump(), made.model_dump()
    different = {key for key in expected if own[key] != expected[key]} - FREE
    assert not different, {key: (own[key], expected[key]) for key in different}
    assert made.plan() == use.settings.plan()
    assert all(not one.program.endswith(PICTURES) or part == "vision" for one in
               describe_open_clip(source, part))  # fmt: skip


@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu"])
def test_siglip_of_transformers(tmp_path: Path, act: str) -> None:
    """``google/siglip2-base-patch32-256``: most numbers are transformers' defaults."""
    import transformers

    config = transformers.SiglipConfig(
        text_config={"vocab_size": 256000, "hidden_act": act},
        vision_config={"image_size": 256, "patch_size": 32, "hidden_act": act},
    )
    config.save_pretrained(tmp_path)
    transformers.SiglipImageProcessor(size={"height": 256, "width": 256}).save_pretrained(tmp_path)
    files = {name: tmp_path / name for name in ("config.json", "preprocessor_config.json")}
    gelu = {"gelu_pytorch_tanh": "gelu_tanh"}.get(act, act)
    ((name, (_, vision)),) = proposals("vision", describe_files(files, "vision")).items()
    assert (name, vision.embed_dim) == ("timm", 768)
    assert vision.settings["arch"] == "vit_base_patch32_siglip_256"
    assert vision.settings["activation"] == gelu
    assert tuple(vision.settings["mean"]) == (0.5, 0.5, 0.5)
    ((name, (_, text)),) = proposals("text", describe_files(files, "text")).items()
    assert (name, text.embed_dim) == ("siglip", 768)
    assert text.settings["activation"] == gelu
    assert (text.settings["max_tokens"], text.settings["project"]) == (64, "linear")
    assert text.settings["vocab_size"] == 256000


def test_a_naflex_model_is_nobodys(tmp_path: Path) -> None:
    import transformers

    transformers.Siglip2Config().save_pretrained(tmp_path)
    files = {"config.json": tmp_path / "config.json"}
    assert not proposals("vision", describe_files(files, "vision"))

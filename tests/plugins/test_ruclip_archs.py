"""Where a ruCLIP tower's numbers come from: the config, its arch, its source, in this order."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.contracts import PluginRef
from engine.core.size import tower_plan
from engine_plugins import ruclip_archs

MakeUse = Callable[..., PluginRef]
TOWERS = ("vision_tower", "text_encoder")
FOLDER = {
    "embed_dim": 24, "image_resolution": 32, "vision_layers": 2, "vision_width": 128,
    "vision_patch_size": 8, "context_length": 20, "vocab_size": 160, "transformer_width": 48,
    "transformer_heads": 4, "transformer_layers": 3,
}  # fmt: skip


def folder_with(path: Path, config: object) -> dict[str, str]:
    """A folder with this config.json -> the setting `weights` that names it."""
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "config.json").write_text(text, encoding="utf-8")
    return {"from": f"file:{path}"}


def numbers(make_use: MakeUse, **given: Any) -> tuple[int, ...]:
    """What differs among the models: of the vision tower, then of the text encoder."""
    vision: Any = make_use("vision_tower", "ruclip", **given).settings
    text: Any = make_use("text_encoder", "ruclip", **given).settings
    assert vision.embed_width == text.embed_width
    sizes = (vision.image_size, vision.patch_size, vision.width, vision.layers, vision.heads)
    return (*sizes, vision.embed_width, text.width, text.layers, text.heads)


# From the model cards: image, patch, width, layers, heads (width / 64); joint; text.
CARDS = {
    "ruclip-vit-base-patch32-224": (224, 32, 768, 12, 12, 512, 512, 12, 8),
    "ruclip-vit-base-patch16-224": (224, 16, 768, 12, 12, 512, 512, 12, 8),
    "ruclip-vit-base-patch32-384": (384, 32, 768, 12, 12, 512, 512, 12, 8),
    "ruclip-vit-base-patch16-384": (384, 16, 768, 12, 12, 512, 512, 12, 8),
    "ruclip-vit-large-patch14-224": (224, 14, 1024, 24, 16, 768, 768, 12, 12),
    "ruclip-vit-large-patch14-336": (336, 14, 1024, 24, 16, 768, 768, 12, 12),
}


@pytest.mark.parametrize("arch", CARDS)
def test_the_published_models(arch: str, make_use: MakeUse) -> None:
    assert set(CARDS) == set(get_args(ruclip_archs.RuClipArch))
    assert numbers(make_use, arch=arch) == CARDS[arch]
    for source in (f"hf:ai-forever/{arch}", f"hf:sberbank-ai/{arch}@main"):
        assert numbers(make_use, weights={"from": source}) == CARDS[arch]
    plans = [tower_plan(make_use(tower, "ruclip", arch=arch)) for tower in TOWERS]
    count = sum(math.prod(t.shape) for plan in plans for t in plan.tensors.values())
    # The cards round: 150M and 430M.
    assert count == pytest.approx(430e6 if "large" in arch else 150e6, rel=0.01)


def test_without_a_word_it_is_the_first_of_them(make_use: MakeUse) -> None:
    first = CARDS[ruclip_archs.DEFAULT_ARCH]
    assert numbers(make_use) == first
    assert numbers(make_use, weights={"from": "hf:somebody/else"}) == first
    assert numbers(make_use, weights={"from": "file:no/such/folder"}) == first


def test_the_folder_of_the_weights_says_it(make_use: MakeUse, tmp_path: Path) -> None:
    weights = folder_with(tmp_path, FOLDER)
    assert numbers(make_use, weights=weights) == (32, 8, 128, 2, 2, 24, 48, 3, 4)
    text: Any = make_use("text_encoder", "ruclip", weights=weights).settings
    assert (text.vocab_size, text.max_tokens) == (160, 20)


def test_the_config_wins_over_arch_and_arch_over_the_folder(
    make_use: MakeUse, tmp_path: Path
) -> None:
    given = {"weights": folder_with(tmp_path, FOLDER), "layers": 5}
    assert numbers(make_use, **given) == (32, 8, 128, 5, 2, 24, 48, 5, 4)
    arch = "ruclip-vit-large-patch14-336"
    assert numbers(make_use, arch=arch, **given) == (336, 14, 1024, 5, 16, 768, 768, 5, 12)


def test_means_come_from_the_folder_too(make_use: MakeUse, tmp_path: Path) -> None:
    weights = folder_with(tmp_path, {**FOLDER, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    found: Any = make_use("vision_tower", "ruclip", weights=weights).settings
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    own: Any = make_use("vision_tower", "ruclip", weights=weights, mean=(0.5, 0.5, 0.5)).settings
    assert (own.mean, own.std) == ((0.5, 0.5, 0.5), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("weights", "source"),
    [
        ({"from": "scratch"}, "hf:ai-forever/ruclip-vit-base-patch32-224"),
        ({"from": "hf:a/ruclip-vit-large-patch14-224@v1"}, "hf:a/ruclip-vit-large-patch14-224@v1"),
        ({"from": "hf:somebody/else"}, "hf:ai-forever/ruclip-vit-base-patch32-224"),
        ({"from": "file:FOLDER", "otherwise": "scratch"}, "file:FOLDER"),
        ({"from": "file:FOLDER/w.pt"}, "hf:ai-forever/ruclip-vit-base-patch32-224"),
    ],
)
def test_the_vocabulary_comes_with_the_weights(
    weights: dict[str, str], source: str, make_use: MakeUse
) -> None:
    settings: Any = make_use("text_encoder", "ruclip", weights=weights).settings
    assert settings.tokenizer.name == "youtokentome"
    assert settings.tokenizer.settings.from_ == source
    assert settings.tokenizer.settings.otherwise == weights.get("otherwise")
    named: Any = make_use("text_encoder", "ruclip", arch="ruclip-vit-large-patch14-224").settings
    assert named.tokenizer.settings.from_ == "hf:ai-forever/ruclip-vit-large-patch14-224"
    own = {"use": "trained", "from": "scratch"}
    settings = make_use("text_encoder", "ruclip", weights=weights, tokenizer=own).settings
    assert settings.tokenizer.name == "trained"


@pytest.mark.parametrize("tower", TOWERS)
def test_the_resolved_settings_need_the_folder_no_more(
    tower: str, make_use: MakeUse, tmp_path: Path
) -> None:
    use = make_use(tower, "ruclip", weights=folder_with(tmp_path, FOLDER))
    saved = use.to_config()
    name, path = saved.pop("use"), tmp_path / "config.json"
    path.write_text("{")
    assert make_use(tower, name, **saved) == use
    path.unlink()
    assert make_use(tower, name, **saved) == use


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds no mapping"),
        ("[" * 100_000, "cannot be read as JSON"),
        ({}, "`embed_dim` must be a whole number above 0, found nothing"),
        ({**FOLDER, "vision_width": "128"}, "`vision_width` must be"),
        ({**FOLDER, "vision_width": 0}, "`vision_width` must be"),
        ({**FOLDER, "vocab_size": True}, "`vocab_size` must be"),
        ({**FOLDER, "transformer_layers": 2.5}, "`transformer_layers` must be"),
    ],
)
def test_a_config_json_that_is_no_ruclips(
    tower: str, config: object, message: str, make_use: MakeUse, tmp_path: Path
) -> None:
    weights = folder_with(tmp_path, config)
    with pytest.raises(ValidationError) as caught:
        make_use(tower, "ruclip", weights=weights)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
configs = st.fixed_dictionaries(
    {}, optional={key: st.integers(-1, 200) | json_values for key in [*FOLDER, "mean", "std"]}
) | st.dictionaries(st.text(max_size=8), json_values)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=configs)
def test_any_config_json_is_taken_or_refused(
    config: dict[str, Any], make_use: MakeUse, tmp_path: Path
) -> None:
    weights = folder_with(tmp_path, config)
    for tower in TOWERS:
        try:
            use = make_use(tower, "ruclip", weights=weights)
        except ValidationError:
            continue
        assert use.settings.embed_width == config["embed_dim"]


@pytest.mark.parametrize(
    "given", [{"arch": "ruclip-vit-base-patch32"}, {"arch": 3}, {"arch": ["x"]}, {"weights": 5}]
)
def test_bad_settings_are_reported(given: dict[str, Any], make_use: MakeUse) -> None:
    for tower in TOWERS:
        with pytest.raises(ValidationError, match=next(iter(given))):
            make_use(tower, "ruclip", **given)


def test_no_torch_is_imported_for_it() -> None:
    code = (
        "import sys; import engine_plugins.text.clip_settings, engine_plugins.vision.settings;"
        "print([m for m in ('torch', 'open_clip', 'timm', 'numpy', 'transformers')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

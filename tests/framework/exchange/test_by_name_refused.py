"""Sources that Engine does not compute as their own program does are refused, with what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from engine.errors import ConfigError, EngineError, WeightsError
from engine.exchange.by_name import import_source

from . import foreign_folders as foreign


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

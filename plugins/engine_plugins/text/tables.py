"""The text encoders that are not CLIP's, in the words of other programs. Imports no torch.

The defaults are transformers' (``configuration_bert.py``, ``configuration_gpt2.py``, 5.24); tests
hold them to the installed package.
"""

from __future__ import annotations

from typing import Any

from engine.contracts.description import Fact, Table, same_activation

GPT_EPS = 1e-5

_MODES = {"first": "cls", "mean": "mean", "pooler": "BERT's pooler"}


def _of_first(theirs: Any, ours: Any) -> bool:
    """The first token, or what BERT's pooler makes of it."""
    return bool(theirs == ours or (theirs == "first" and ours == "pooler"))


_POOLING = Fact("pooler_output", lambda t: t.settings.pooling, "pooling", same=_of_first,
                note="a dual encoder of transformers pools there")  # fmt: skip


def _bert(kinds: tuple[str, ...], heads: str, act: str, norm: tuple[Fact, ...]) -> Table:
    """What transformers says of one of BERT's family."""
    return Table("transformers", kinds, (
        Fact(heads, lambda t: t.settings.heads, "heads", 12),
        Fact(act, lambda t: "gelu", default="gelu", same=same_activation),
        *norm,
        Fact("position_embedding_type", lambda t: "absolute", default="absolute"),
        Fact("is_decoder", lambda t: False, default=False),
        Fact("add_cross_attention", lambda t: False, default=False),
        Fact("directionality", lambda t: "bidi"),
        _POOLING,
    ), ("pooler_",))  # fmt: skip


def _eps(default: float) -> tuple[Fact, ...]:
    return (Fact("layer_norm_eps", lambda t: t.settings.norm_eps, "norm_eps", default),)


_SENTENCES = Table("sentence_transformers", (), (
    Fact("pooling_mode", lambda t: _MODES[t.settings.pooling], "pooling"),
    Fact("pooling_mode_cls_token", lambda t: t.settings.pooling == "first", "pooling: first"),
    Fact("pooling_mode_mean_tokens", lambda t: t.settings.pooling == "mean", "pooling: mean"),
    *(Fact(f"pooling_mode_{mode}", lambda t: False) for mode in (
        "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")),
), ("pooling_mode",))  # fmt: skip


def _same_pooler(theirs: Any, ours: Any) -> bool:
    """open_clip's ``cls_pooler`` takes BERT's own pooler."""
    return bool(theirs == {"mean": "mean_pooler", "first": "cls_last_hidden_state_pooler",
                           "pooler": "cls_pooler"}[ours])  # fmt: skip


_OPEN_CLIP = Table("open_clip", ("hf",), (
    Fact("hf_pooler_type", lambda t: t.settings.pooling, "pooling", "mean_pooler", _same_pooler),
), ("hf_", "heads", "layers", "width", "timm_", "quick_gelu"))  # fmt: skip


def _base(tower: Any) -> str:
    """The published model of these many heads."""
    return {12: "xlm-roberta-base", 16: "xlm-roberta-large"}.get(tower.settings.heads, "another")


def _same_base(theirs: Any, ours: Any) -> bool:
    """An encoder of another name was read from its own description."""
    name = str(theirs).rpartition("/")[2]
    return name == str(ours) or name not in ("xlm-roberta-base", "xlm-roberta-large")


# M-CLIP's `config.json` names the encoder instead of its numbers, which are the published model's.
_M_CLIP = Table("transformers", ("M-CLIP",), (
    Fact("modelBase", _base, "heads", same=_same_base),
    Fact("transformerDimensions", lambda t: t.settings.width, "width"),
    Fact("pooling_mode", lambda t: t.settings.pooling, "pooling", "mean"),
))  # fmt: skip

BERT = (
    _bert(("bert", "chinese_clip_text_model"), "num_attention_heads", "hidden_act", _eps(1e-12)),
    _SENTENCES,
    _OPEN_CLIP,
)
XLM_ROBERTA = (
    _bert(("xlm-roberta", "roberta", "camembert"), "num_attention_heads", "hidden_act",
          (*_eps(1e-12), Fact("pad_token_id", lambda t: t.settings.position_offset - 1, default=1,
                              note="positions are counted from it"))),
    _SENTENCES,
    _OPEN_CLIP,
    _M_CLIP,
)  # fmt: skip
DISTILBERT = (
    Table("transformers", ("distilbert",), (
        Fact("n_heads", lambda t: t.settings.heads, "heads", 12, also=("num_attention_heads",)),
        Fact("activation", lambda t: "gelu", default="gelu", same=same_activation),
        Fact("layer_norm_eps", lambda t: t.settings.norm_eps, "norm_eps", 1e-12),
        _POOLING,
    ), ("pooler_", "sinusoidal_pos_embds", "seq_classif")),
    _SENTENCES,
    _OPEN_CLIP,
)  # fmt: skip

GPT = (
    Table("transformers", ("gpt2",), (
        Fact("n_head", lambda t: t.settings.heads, "heads", 12, also=("num_attention_heads",)),
        Fact("activation_function", lambda t: "gelu_new", default="gelu_new", same=same_activation),
        Fact("layer_norm_epsilon", lambda t: GPT_EPS, default=1e-5),
        Fact("scale_attn_weights", lambda t: True, default=True),
        Fact("scale_attn_by_inverse_layer_idx", lambda t: False, default=False),
        Fact("add_cross_attention", lambda t: False, default=False),
        Fact("reorder_and_upcast_attn", lambda t: False, default=False, refuse=False,
             note="the same but for rounding: Engine computes in float32"),
    ), ("summary_", "is_decoder")),
)  # fmt: skip

BPE = (
    Table("engine", (), (
        Fact("heads", lambda t: t.settings.heads, "heads"),
        Fact("attention", lambda t: t.settings.attention, "attention"),
        Fact("pooling", lambda t: t.settings.pooling, "pooling"),
    )),
)  # fmt: skip

NLLB = (
    Table("transformers", ("m2m_100", "nllb"), (
        Fact("encoder_attention_heads", lambda t: t.settings.heads, "heads", 16),
        Fact("activation_function", lambda t: "relu", default="relu"),
        Fact("scale_embedding", lambda t: True, default=True),
        _POOLING,
    ), ("decoder_", "is_encoder_decoder", "is_decoder", "add_final_layer_norm",
        "add_bias_logits", "classif")),
    Table("open_clip", ("hf",), (
        Fact("hf_pooler_type", lambda t: t.settings.pooling, "pooling", "mean_pooler",
             same=lambda theirs, ours: theirs in {
                 "mean": ("mean_pooler",),
                 "first": ("cls_pooler", "cls_last_hidden_state_pooler")}[ours]),
    ), ("hf_", "heads", "layers", "width", "timm_", "quick_gelu")),
)  # fmt: skip
"""Of NLLB there is no pooler, so open_clip's ``cls_pooler`` takes the first token itself."""

"""The text encoders that are not CLIP's, in the words of other programs. Imports no torch.

The defaults are transformers' (``configuration_bert.py``, ``configuration_gpt2.py``, 5.24); tests
hold them to the installed package.
"""

from __future__ import annotations

from engine.contracts.description import Fact, Table, same_activation

BERT_EPS = 1e-12
GPT_EPS = 1e-5

BERT = (
    Table("transformers", ("bert", "chinese_clip_text_model"), (
        Fact("num_attention_heads", lambda t: t.settings.heads, "heads", 12),
        Fact("hidden_act", lambda t: "gelu", default="gelu", same=same_activation),
        Fact("layer_norm_eps", lambda t: BERT_EPS, default=1e-12),
        Fact("position_embedding_type", lambda t: "absolute", default="absolute"),
        Fact("is_decoder", lambda t: False, default=False),
        Fact("add_cross_attention", lambda t: False, default=False),
        Fact("directionality", lambda t: "bidi"),
        Fact("pooler_output", lambda t: t.settings.pooling, "pooling",
             note="a dual encoder of transformers pools there"),
    ), ("pooler_",)),
    Table("sentence_transformers", (), (
        Fact("pooling_mode", lambda t: {"first": "cls"}.get(t.settings.pooling, "mean"), "pooling"),
        Fact("pooling_mode_cls_token", lambda t: t.settings.pooling == "first", "pooling: first"),
        Fact("pooling_mode_mean_tokens", lambda t: t.settings.pooling == "mean", "pooling: mean"),
        *(Fact(f"pooling_mode_{mode}", lambda t: False) for mode in (
            "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")),
    ), ("pooling_mode",)),
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

"""BERT and its family as other programs describe them: the numbers of a config. No torch.

A text encoder of transformers says nothing of a joint space by itself. What stands around it does:
a dual encoder of transformers takes BERT's pooler and one matrix, a folder of sentence-transformers
names its pooling, and a dense layer where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description
from engine.contracts.proposal import Proposal, number, ratio

_PROGRAM = "sentence_transformers"
_BERT = {"bert": "pooler", "chinese_clip_text_model": "first"}
_XLM_ROBERTA = {"xlm-roberta": "pooler"}
"""Where a dual encoder of transformers takes what such an encoder gives."""
_POOLING = {"cls": "first", "mean": "mean"}
_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
_LENGTHS = (("transformers", "model_max_length"), ("transformers", "max_len"))
_LINEAR = {"use": "linear"}
_IDENTITY = {"use": "identity"}
# open_clip's text towers of transformers: its names of their pooling, and the published encoders
# that it names instead of their numbers.
_POOLERS = {"mean_pooler": "mean", "cls_pooler": "pooler", "cls_last_hidden_state_pooler": "first"}
_NAMED = {
    "xlm-roberta-base": {"width": 768, "layers": 12, "heads": 12},
    "xlm-roberta-large": {"width": 1024, "layers": 24, "heads": 16},
}


_NLLB = {
    "nllb-200-distilled-600M": {
        "vocab_size": 256206, "width": 1024, "layers": 12, "heads": 16, "mlp_ratio": 4.0,
    },
    "nllb-200-distilled-1.3B": {
        "vocab_size": 256206, "width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 8.0,
    },
}  # fmt: skip


def bert(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """BERT and what reads its output."""
    if description.program != "transformers" or description.kind not in _BERT:
        return None
    return _encoder(description, aside, _numbers(description.values), _BERT[description.kind])


def xlm_roberta(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """XLM-RoBERTa, of transformers or inside of open_clip."""
    if description.program == "open_clip" and description.kind == "hf":
        return _of_open_clip(description, _named_xlm_roberta(description, "hf_model_name"))
    if description.program == "transformers" and description.kind == "M-CLIP":
        return _m_clip(description, aside)
    if description.program != "transformers" or description.kind not in _XLM_ROBERTA:
        return None
    numbers = _numbers(description.values)
    return _encoder(description, aside, numbers, _XLM_ROBERTA[description.kind], offset=2)


def distilbert(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """DistilBERT, which has no pooler: a sentence encoder's."""
    if description.program != "transformers" or description.kind != "distilbert":
        return None
    values = description.values
    width = number(values, "dim", "hidden_size", default=768)
    numbers = {
        "vocab_size": number(values, "vocab_size", default=30522),
        "n_positions": number(values, "max_position_embeddings", default=512),
        "width": width,
        "layers": number(values, "n_layers", "num_hidden_layers", default=6),
        "heads": number(values, "n_heads", "num_attention_heads", default=12),
        "mlp_ratio": ratio(width, number(values, "hidden_dim", default=3072)),
    }
    if description.model:
        raise ValueError(
            f"{description.place} is the text tower of a dual encoder of transformers, which takes"
            " a pooler that DistilBERT does not have"
        )
    return _encoder(description, aside, numbers, "first")


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of BERT and of what has its keys; absent ones are ``BertConfig``'s."""
    width = number(values, "hidden_size", default=768)
    return {
        "vocab_size": number(values, "vocab_size", default=30522),
        "n_positions": number(values, "max_position_embeddings", default=512),
        "width": width,
        "layers": number(values, "num_hidden_layers", default=12),
        "heads": number(values, "num_attention_heads", default=12),
        "mlp_ratio": ratio(width, number(values, "intermediate_size", default=3072)),
        "norm_eps": values.get("layer_norm_eps", 1e-12),
    }


def _encoder(
    description: Description,
    aside: Sequence[Description],
    numbers: dict[str, Any],
    dual: str,
    *,
    offset: int = 0,
) -> Proposal:
    """An encoder of transformers and what stands around it.

    Args:
        description: of the encoder.
        aside: what lies beside it.
        numbers: its settings.
        dual: the pooling of a dual encoder of transformers.
        offset: rows of the table of positions that belong to no token.
    """
    longest_text = longest(aside, numbers["n_positions"] - offset)
    settings = {**numbers, "max_tokens": longest_text}
    if description.model:
        joint = number(description.model, "projection_dim", default=512)
        return Proposal({**settings, "pooling": dual}, _LINEAR, joint)
    pooling, projection, joint = pooled(aside, numbers["width"], description.place)
    return Proposal({**settings, "pooling": _POOLING[pooling]}, projection, joint)


def nllb(description: Description) -> Proposal | None:
    """NLLB's encoder inside of open_clip."""
    if description.program != "open_clip" or description.kind != "hf":
        return None
    name = str(description.values.get("hf_model_name"))
    numbers = _NLLB.get(name.rpartition("/")[2]) or _nllb_numbers(_config_of(name))
    return _of_open_clip(description, numbers)


def _nllb_numbers(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers of transformers' M2M100, whose encoder is NLLB's."""
    if values.get("model_type") != "m2m_100":
        return None
    width = number(values, "d_model", default=1024)
    return {
        "vocab_size": number(values, "vocab_size", default=128112),
        "width": width,
        "layers": number(values, "encoder_layers", default=12),
        "heads": number(values, "encoder_attention_heads", default=16),
        "mlp_ratio": ratio(width, number(values, "encoder_ffn_dim", default=4096)),
    }


def _named_xlm_roberta(description: Description, key: str) -> dict[str, Any] | None:
    """The numbers of an XLM-RoBERTa that a description names, published or in the hub's cache."""
    name = str(description.values.get(key))
    known = _NAMED.get(name.rpartition("/")[2])
    if known is not None:
        return {**known, "vocab_size": 250002, "n_positions": 514, "norm_eps": 1e-5}
    values = _config_of(name)
    return _numbers(values) if values.get("model_type") in _XLM_ROBERTA else None


def _config_of(name: str) -> Mapping[str, Any]:
    """The ``config.json`` of a repository of the hub; empty where it is out of reach."""
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", name) or "/" not in name:
        return {}
    from engine.core.descriptions import find_beside, read_beside  # they import torch

    found = find_beside(f"hf:{name}", ("config.json",))
    return read_beside(found["config.json"]) if found else {}


def _m_clip(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """M-CLIP: the mean of an XLM-RoBERTa, and one linear layer with a bias."""
    numbers = _named_xlm_roberta(description, "modelBase")
    if numbers is None:
        raise ValueError(
            f"`modelBase` is {description.values.get('modelBase')!r:.60} in {description.place};"
            f" Engine knows the numbers of {', '.join(_NAMED)}, and of what the hub's cache has"
        )
    width = number(description.values, "transformerDimensions", default=numbers["width"])
    if width != numbers["width"]:
        raise ValueError(
            f"`transformerDimensions` is {width} in {description.place}, and its `modelBase` is"
            f" {numbers['width']} wide"
        )
    settings = {**numbers, "max_tokens": longest(aside, numbers["n_positions"] - 2),
                "pooling": "mean"}  # fmt: skip
    joint = number(description.values, "numDims", default=512)
    return Proposal(settings, {**_LINEAR, "bias": True}, joint)


def static(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """A folder of model2vec: a table, and the tokenizer that lies beside it."""
    if description.program != "transformers" or description.kind != "model2vec":
        return None
    document = next((one.values for one in aside if one.program == "tokenizers"), None)
    if document is None:
        raise ValueError(f"{description.place} has no tokenizer.json beside it")
    pooling = description.values.get("pooling", "mean")
    if pooling != "mean":
        raise ValueError(
            f"`pooling` is {pooling!r:.60} in {description.place}; Engine has the mean"
        )
    rows, unknown = _entries(document)
    longest_text = description.values.get("max_length") or description.values.get("seq_length")
    width = number(description.values, "hidden_dim")
    settings = {
        "vocab_size": rows,
        "width": width,
        "max_tokens": longest_text if isinstance(longest_text, int) else 512,
        "unknown_id": unknown,
        "tokenizer": {"use": "tokenizer_json", "marks": False},
    }
    return Proposal(settings, _IDENTITY, width)


def _entries(document: Mapping[str, Any]) -> tuple[int, int | None]:
    """How many tokens a ``tokenizer.json`` has, and the id of its unknown one."""
    model = document["model"]
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, Mapping):
        ids = {str(token): int(index) for token, index in vocabulary.items()}
        unknown = ids.get(str(model.get("unk_token")))
    else:
        ids = {str(entry[0]): index for index, entry in enumerate(vocabulary)}
        unknown = model.get("unk_id")
    added = [one.get("id", 0) for one in document.get("added_tokens") or []]
    return max([*ids.values(), *added], default=0) + 1, unknown


def _of_open_clip(description: Description, numbers: dict[str, Any] | None) -> Proposal | None:
    """A text tower of transformers inside of open_clip; ``None`` for an encoder of another name."""
    if numbers is None:
        return None
    values = description.values
    has_pooler = "n_positions" in numbers  # NLLB has none: there it is the first token itself
    poolers = _POOLERS if has_pooler else {**_POOLERS, "cls_pooler": "first"}
    pooler = values.get("hf_pooler_type", "mean_pooler")
    if pooler not in poolers:
        raise ValueError(f"`hf_pooler_type` is {pooler!r:.60}; Engine has {', '.join(poolers)}")
    kind = values.get("hf_proj_type", "mlp")
    projections = {"mlp": {"use": "mlp"}, "linear": _LINEAR, None: _IDENTITY, "": _IDENTITY}
    if kind not in projections:
        raise ValueError(f"`hf_proj_type` is {kind!r:.60}; Engine has mlp and linear")
    settings = {
        **numbers,
        "max_tokens": number(values, "context_length", default=77),
        "pooling": poolers[pooler],
    }
    return Proposal(settings, projections[kind], number(description.model, "embed_dim"))


def longest(aside: Sequence[Description], positions: int) -> int:
    """The longest text: where sentence-transformers or the tokenizer cuts one, at most positions.

    Args:
        aside: what lies beside the encoder, of its tokenizer too.
        positions: rows of the table of positions.
    """
    stated = [
        one.values.get(key)
        for one in aside
        for program, key in ((f"{_PROGRAM} length", "max_seq_length"), *_LENGTHS)
        if one.program == program
    ]
    return min([positions, *(n for n in stated if isinstance(n, int) and n > 1)])


def pooled(
    aside: Sequence[Description], width: int, place: str
) -> tuple[str, Mapping[str, Any], int]:
    """How sentence-transformers pools, the projection behind it, and the width of that.

    Args:
        aside: its modules' descriptions, by their kinds.
        width: of the transformer.
        place: the transformer's own description, for messages.

    Raises:
        ValueError: nothing says how to pool, or it is done in a way that Engine has no form of.
    """
    by_program = {one.program: one for one in aside}
    pooling, dense = by_program.get(_PROGRAM), by_program.get(f"{_PROGRAM} dense")
    if pooling is None:
        raise ValueError(
            f"{place} describes an encoder alone: nothing beside it says how a text becomes one"
            " vector (a dual encoder of transformers would, or sentence-transformers' modules.json)"
        )
    mode = pooling.values.get("pooling_mode") or [
        mode for key, mode in _FLAGS.items() if pooling.values.get(key)
    ]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in _POOLING:
        stated = {k: v for k, v in pooling.values.items() if k.startswith("pooling_mode") and v}
        raise ValueError(
            f"`pooling_mode` is {stated} in {pooling.place}; Engine pools at the first token"
            " (`cls`) or by the mean"
        )
    if dense is None:
        return modes[0], _IDENTITY, width
    activation = str(dense.values.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if not activation.endswith(".Identity"):
        raise ValueError(
            f"`activation_function` is `{activation}` in {dense.place}; Engine's projection is one"
            " matrix (Identity)"
        )
    if dense.values.get("use_residual"):
        raise ValueError(f"`use_residual` is true in {dense.place}, which no projection here has")
    bias = bool(dense.values.get("bias", True))
    return modes[0], {**_LINEAR, "bias": bias}, number(dense.values, "out_features")

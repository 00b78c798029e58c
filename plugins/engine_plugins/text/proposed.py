"""BERT as other programs describe it: the numbers of a config. Imports no torch.

A text encoder of transformers says nothing of a joint space by itself. What stands around it does:
a dual encoder of transformers takes BERT's pooler and one matrix, a folder of sentence-transformers
names its pooling, and a dense layer where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description
from engine.contracts.proposal import Proposal, number, ratio

_PROGRAM = "sentence_transformers"
_BERT = {"bert": "pooler", "chinese_clip_text_model": "first"}
"""Where a dual encoder of transformers takes what this encoder gives."""
_POOLING = {"cls": "first", "mean": "mean"}
_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
_LENGTHS = (("transformers", "model_max_length"), ("transformers", "max_len"))
_LINEAR = {"use": "linear"}
_IDENTITY = {"use": "identity"}


def bert(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """BERT and what reads its output."""
    if description.program != "transformers" or description.kind not in _BERT:
        return None
    values = description.values
    width = number(values, "hidden_size", default=768)
    settings = {
        "vocab_size": number(values, "vocab_size", default=30522),
        "n_positions": number(values, "max_position_embeddings", default=512),
        "width": width,
        "layers": number(values, "num_hidden_layers", default=12),
        "heads": number(values, "num_attention_heads", default=12),
        "mlp_ratio": ratio(width, number(values, "intermediate_size", default=3072)),
    }
    settings["max_tokens"] = longest(aside, settings["n_positions"])
    if description.model:
        joint = number(description.model, "projection_dim", default=512)
        return Proposal({**settings, "pooling": _BERT[description.kind]}, _LINEAR, joint)
    pooling, projection, joint = pooled(aside, width, description.place)
    return Proposal({**settings, "pooling": _POOLING[pooling]}, projection, joint)


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

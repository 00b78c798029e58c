"""Names of tensors in files of BERT's family, and Engine's (``transformers.BertModel``'s).

Sources: github.com/huggingface/transformers (5.24), ``modeling_bert.py``,
``modeling_xlm_roberta.py``, ``modeling_distilbert.py``; github.com/mlfoundations/open_clip,
``hf_model.py``; github.com/FreddeFrallan/Multilingual-CLIP, ``pt_multilingual_clip.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_NOT_OURS = ("cls.", "lm_head.", "vocab_", "embeddings.position_ids",
             "embeddings.token_type_ids", "LinearTransformation.", "proj.")  # fmt: skip
"""Of a file: the heads of the pre-training, stored indices, and what stands behind the tower in
M-CLIP and open_clip."""
_OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
"""What a layer norm's weight and bias were called when files were converted from TensorFlow."""
_PREFIXES = ("text.", "text_model.", "0.auto_model.", "auto_model.", "bert.", "roberta.",
             "distilbert.", "xlm-roberta.")  # fmt: skip
_DISTIL = {
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_BLOCK = re.compile(r"transformer\.layer\.(\d+)\.(.+)\.(weight|bias)")


def to_engine(name: str) -> str:
    """One name; what a whole checkpoint puts before it falls away."""
    whole = True
    while whole:
        whole = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, whole = name[len(prefix) :], True
    block = _BLOCK.fullmatch(name)
    if block and block[2] in _DISTIL:
        return f"encoder.layer.{block[1]}.{_DISTIL[block[2]]}.{block[3]}"
    if name.startswith(("transformer.embeddings.", "transformer.encoder.", "transformer.pooler.")):
        name = name[len("transformer.") :]  # open_clip, M-CLIP
    for old, new in _OLD.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def to_distilbert(name: str) -> str:
    """Engine's name -> ``transformers.DistilBertModel``'s."""
    block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    turned = {new: old for old, new in _DISTIL.items()}
    if block and block[2] in turned:
        return f"transformer.layer.{block[1]}.{turned[block[2]]}.{block[3]}"
    return name


def own_part(weights: Mapping[str, Tensor], *, pooler: bool) -> dict[str, Tensor]:
    """The encoder of a file, under Engine's names; of a whole CLIP its text encoder.

    Args:
        weights: tensors by their names in the file.
        pooler: whether BERT's pooler is wanted.
    """
    towers = [n for n in weights if n.startswith(("text.", "text_model."))]
    names = towers or list(weights)
    named = {to_engine(name): weights[name] for name in names}
    unused = _NOT_OURS if pooler else (*_NOT_OURS, "pooler.")
    return {name: tensor for name, tensor in named.items() if not name.startswith(unused)}

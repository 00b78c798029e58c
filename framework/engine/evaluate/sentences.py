"""A model as a ``SentenceTransformer``: for MTEB, and whatever else takes one.

``engine.load("build/x").as_sentence_transformer()`` has one module, which prepares texts and
pictures as Engine does and computes with Engine's own towers: no file is written, and no number is
another. A text is taken as it is, without the config's templates, which are class names' alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.projection import project_state
from engine.contracts.state import pad_tokens
from engine.data.pictures import read_picture
from engine.errors import DataError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from engine.evaluate.predictor import Predictor


def sentence_transformer(predictor: Predictor) -> SentenceTransformer:
    """See :meth:`engine.evaluate.predictor.Predictor.as_sentence_transformer`."""
    from sentence_transformers import SentenceTransformer

    from engine.evaluate.sentence_module import TowersModule

    module = TowersModule(predictor)
    made = SentenceTransformer(
        modules=[module], device=str(predictor.device), similarity_fn_name="cosine"
    )
    made.max_seq_length = module.max_seq_length
    return made


def prepare(predictor: Predictor, inputs: Sequence[Any]) -> dict[str, Tensor]:
    """Texts or pictures of one kind -> what :func:`embed` takes.

    Raises:
        DataError: texts and pictures in one list.
        BrokenImageError: a picture does not decode.
    """
    pictures = [not isinstance(one, str) for one in inputs]
    if any(pictures) and not all(pictures):
        raise DataError("texts and pictures in one list", hint="encode each kind by itself")
    if any(pictures):
        preprocess = predictor.model.vision.preprocess
        images = [preprocess.to_array(read_picture(one)) for one in inputs]
        stacked = torch.stack([torch.from_numpy(image) for image in images])
        return {"pixel_values": preprocess.to_tensor(stacked)}
    longest = predictor.model.text.settings.max_tokens
    rows = predictor.tokenizer.encode(list(inputs), longest)
    batch = pad_tokens(rows, predictor.tokenizer.pad_id)
    return {"input_ids": batch["ids"], "attention_mask": batch["mask"].long()}


def embed(predictor: Predictor, features: dict[str, Tensor]) -> Tensor:
    """What :func:`prepare` gave -> [B, J], rows of length 1."""
    model = predictor.model
    if "pixel_values" in features:
        state = model.vision({"pixels": features["pixel_values"]}, model.vision_projection.reads)
        embedding = project_state(model.vision_projection, state)["embedding"]
    else:
        ids, mask = features["input_ids"], features["attention_mask"].bool()
        embedding = model.text_state({"ids": ids, "mask": mask})["embedding"]
    return functional.normalize(embedding.float(), dim=-1)

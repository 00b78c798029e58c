"""Texts or pictures of one list -> rows of the joint space; ``sentence_module`` calls it.

A text is taken as it is, without the config's templates, which are class names' alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.projection import project_state
from engine.contracts.state import pad_tokens
from engine.contracts.tokenizer import Tokenizer
from engine.core.model import DualEncoder
from engine.data.pictures import read_picture
from engine.errors import DataError


def prepare(model: DualEncoder, tokenizer: Tokenizer, inputs: Sequence[Any]) -> dict[str, Tensor]:
    """Texts or pictures of one kind -> what :func:`embed` takes.

    Args:
        model: whose towers compute them.
        tokenizer: of the texts.
        inputs: texts, pictures, or either in a dictionary under its kind, ``{"image": picture}``,
            as sentence-transformers and MTEB name them.

    Raises:
        DataError: texts and pictures in one list, or in one dictionary.
        BrokenImageError: a picture does not decode.
    """
    inputs = [_alone(one) for one in inputs]
    pictures = [not isinstance(one, str) for one in inputs]
    if any(pictures) and not all(pictures):
        raise DataError("texts and pictures in one list", hint="encode each kind by itself")
    if any(pictures):
        preprocess = model.vision.preprocess
        images = [preprocess.to_array(read_picture(one)) for one in inputs]
        stacked = torch.stack([torch.from_numpy(image) for image in images])
        return {"pixel_values": preprocess.to_tensor(stacked)}
    longest = model.text.settings.max_tokens
    rows = tokenizer.encode(list(inputs), longest)
    batch = pad_tokens(rows, tokenizer.pad_id)
    return {"input_ids": batch["ids"], "attention_mask": batch["mask"].long()}


def _alone(given: Any) -> Any:
    """The text or picture of a dictionary with one of them; anything else is given back."""
    if not isinstance(given, Mapping):
        return given
    if len(given) != 1 or not set(given) <= {"text", "image"}:
        raise DataError(
            f"an input of {', '.join(sorted(map(str, given)))} has no one vector",
            hint='one text or one picture each: {"text": ...} or {"image": ...}',
        )
    return next(iter(given.values()))


def embed(model: DualEncoder, features: dict[str, Tensor]) -> Tensor:
    """What :func:`prepare` gave -> [B, J], rows of length 1."""
    if "pixel_values" in features:
        state = model.vision({"pixels": features["pixel_values"]}, model.vision_projection.reads)
        embedding = project_state(model.vision_projection, state)["embedding"]
    else:
        ids, mask = features["input_ids"], features["attention_mask"].bool()
        embedding = model.text_state({"ids": ids, "mask": mask})["embedding"]
    return functional.normalize(embedding.float(), dim=-1)

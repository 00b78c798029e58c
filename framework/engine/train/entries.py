"""The entries that losses read by name: which ones there are, which ones a stage needs.

The names are those of :class:`engine.contracts.training.Loss`. What belongs to one modality of the
model begins with ``image.`` or ``text.``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef
from engine.contracts.state import State, is_by_row
from engine.contracts.tower import Tower
from engine.contracts.training import Loss, Rows
from engine.core.model import DualEncoder
from engine.errors import ConfigError, PluginError
from engine.train.activations import Sort
from engine.train.data import TrainingRows

OF_TOKENS = frozenset({"ids", "mask", "token_embeddings"})
"""Entries of texts that count tokens, whatever the text encoder."""

_PROBED = 1
"""Rows of the probes."""


def read_by(losses: Iterable[Loss]) -> frozenset[str]:
    """All entries that some losses read, those included that they read only where given."""
    found: frozenset[str] = frozenset()
    for loss in losses:
        found |= loss.needed() | loss.reads_if_given
    return found


def of_modality(names: Iterable[str], modality: str) -> frozenset[str]:
    """The entries of one modality, without its name: ``text.hidden`` becomes ``hidden``."""
    prefix = f"{modality}."
    return frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def available_entries(model: DualEncoder, data: TrainingRows, *, mean: bool) -> frozenset[str]:
    """What the losses of a run may read.

    Args:
        model: the model; it is in eval mode afterwards.
        data: the training data.
        mean: a row's texts count together (``train.queries: mean``), so that what counts tokens is
            not given.
    """
    model.eval()
    device, dataset = model.logit_scale.device, data.dataset
    tokens = {n: t.to(device) for n, t in data.table.padded([0] * _PROBED).items()}
    with torch.no_grad():
        text = model.text_state(tokens)
        image = _image_state(model, device) if sort_of(dataset) != "none" else {}
    added = {
        name
        for name, tensor in text.items()
        if name not in tokens
        and is_by_row(tensor, _PROBED)
        and (tensor.is_floating_point() or not mean)
    }
    texts = {"embedding", *OF_TOKENS, *model.text.outputs, *added}
    if mean:
        texts -= OF_TOKENS | token_outputs(model.text)
    images = {n for n, tensor in image.items() if is_by_row(tensor, _PROBED)} - {"pixels"}
    if sort_of(dataset) == "images":
        images |= {"embedding", *model.vision.outputs}
    found = {f"text.{name}" for name in texts}
    found |= {f"image.{name}" for name in images}
    found |= {"scale", "row.id", "text.id"}
    if model.logit_bias is not None:
        found.add("bias")
    if data.clusters is not None:
        found.add("cluster")
    if data.weights is not None:
        found.add("pair.weight")
    return frozenset(found)


def sort_of(dataset: Dataset) -> Sort:
    """What the rows of a data set have beside texts."""
    if dataset.activations is not None:
        return "activations"
    return "images" if dataset.has_images else "none"


def _image_state(model: DualEncoder, device: torch.device) -> State:
    """What the image modality gives; the tower runs only where its projection reads of it."""
    projection = model.vision_projection
    if projection.reads:
        side = model.vision.preprocess.size
        return model.image_state({"pixels": torch.zeros(_PROBED, 3, side, side, device=device)})
    found: State = projection({"pooled": torch.zeros(_PROBED, model.vision.width, device=device)})
    return found


def token_outputs(tower: Tower) -> frozenset[str]:
    """The outputs of a tower that count tokens."""
    return frozenset(name for name, output in tower.outputs.items() if output.counts_tokens)


def check_loss(use: PluginRef, given: frozenset[str], where: str) -> None:
    """Refuse a loss that needs what neither the model nor the data give.

    Args:
        use: the loss of the config.
        given: what there is, see :func:`available_entries`.
        where: the dotted path of the stage.

    Raises:
        ConfigError: names the entry, and lists all that there are.
    """
    with torch.random.fork_rng(devices=[]):  # the numbers of training do not depend on this check
        missing = sorted(use.create().needed() - given)
    if not missing:
        return
    hints = {
        "cluster": "add a `clusters:` section",
        "text.router_logits": "use the projection `clustered` of the text modality",
        "bias": "give the model a bias (`model.logit_bias: -10`)",
        "pair.weight": "give the rows of the data set weights",
        "image.embedding": "train on a data set with images or activations",
    }
    if missing[0].startswith("teacher."):
        hints[missing[0]] = "name the teacher in `train.teachers`"
    hint = hints.get(missing[0], "use a tower or a projection that gives it")
    raise ConfigError(
        f"{where}.losses: the loss `{use.name}` needs `{missing[0]}`, which neither the model nor"
        f" the data give (available: {', '.join(sorted(given))})",
        hint=f"{hint}, or leave the loss out",
    )


def text_ids(texts: Rows, counts: Rows) -> Rows:
    """[rows] int64, equal where the texts of two rows are equal, in every process the same.

    Args:
        texts: [T] int64, token sequences; equal texts have equal numbers.
        counts: [rows] int64, texts of each row.
    """
    if len(counts) == len(texts):
        return texts
    ends = np.cumsum(counts)
    digests = [
        hashlib.blake2b(np.sort(texts[end - count : end]).tobytes(), digest_size=8).digest()
        for end, count in zip(ends.tolist(), counts.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(digests), dtype=np.int64).copy()  # torch wants it writable


def compute_loss(
    name: str, loss: Loss, entries: Mapping[str, Tensor], rows: slice | None = None
) -> Tensor:
    """A loss of the entries that it names, and of no others.

    So a loss that reads an entry without naming it fails everywhere, and not only where no other
    loss of the stage reads that entry.

    Args:
        name: of the loss.
        loss: the loss.
        entries: of the whole batch.
        rows: only the terms of these rows, of a loss that has them; ``None``: the whole loss.

    Raises:
        PluginError: it needs an entry that there is not, or reads one that it does not name.
    """
    needed = loss.needed()
    if missing := sorted(needed - entries.keys()):
        raise PluginError(
            f"the loss `{name}` reads `{missing[0]}`, which the model does not give (it gives"
            f" {', '.join(sorted(entries))})",
            hint="a tower or projection that names an output must give it",
        )
    own = needed | loss.reads_if_given
    try:
        read = {key: entries[key] for key in entries if key in own}
        found: Tensor = loss(read) if rows is None else loss.part(read, rows)
    except KeyError as error:
        key = error.args[0] if error.args else None
        if not isinstance(key, str) or key in own or not _is_entry(key, entries):
            raise
        raise PluginError(
            f"the loss `{name}` reads `{key}`, which its `reads` does not name",
            hint="a fault of the plugin: its author adds the name to `reads`",
        ) from error
    return found


def _is_entry(key: str, entries: Mapping[str, Tensor]) -> bool:
    known = key in entries or key in {"bias", "cluster", "row.id", "text.id", "pair.weight"}
    return known or key.startswith(("image.", "text.", "teacher."))

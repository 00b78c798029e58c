"""What an export starts from: a model, the texts it is tried with, and what its story is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.contracts.filling import check_filled
from engine.contracts.state import last_place, pad_tokens
from engine.contracts.tower_settings import TextEncoderSettings
from engine.core.build import Built, read_artifact
from engine.errors import WeightsError
from engine.exchange.exported import identity_of
from engine.version import __version__

TOLERANCE = 1e-4
"""Most that any number of an exported embedding (of length 1) may differ from the model's."""

_WORDS = (
    "кошка", "собака на траве", "a photo of a dog", "Ёлка, ёж и йод", "ПИСЬМО В РЕДАКЦИЮ",
    "цена 1999 руб. (25 %)", "e-mail: name@example.org", "don't stop!", "  два   пробела ",
    "строка\nи\tтабуляция", "неразрывный\u00a0пробел", "смайлик 🙂 и 漢字", "ＦＵＬＬ ｗｉｄｔｈ ﬁ",
    "caf\u00e9 и cafe\u0301", "<s> </s> [CLS] <end_of_text>", "x", "!", "R&amp;B &lt;3",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """An artifact that is to be exported.

    Attributes:
        built: the model in eval mode, its tokenizer, its config and manifest.
        texts: texts to try tokenizers with: the config's templates around words, odd characters,
            a text that is too long, and the empty one.
        rows: the token ids of these texts.
    """

    built: Built
    texts: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    @property
    def text_settings(self) -> TextEncoderSettings:
        """Settings of the text encoder."""
        return self.built.model.text.settings

    def images(self) -> Iterator[Tensor]:
        """Batches of pixels [B, 3, S, S] to try a vision tower with."""
        size = self.built.model.vision.preprocess.size
        generator = torch.Generator().manual_seed(1)
        for batch in (1, 2, 5):
            yield torch.randn(batch, 3, size, size, generator=generator)

    def batches(self, end: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of ids and mask [B, L] to try a text tower with.

        The tokenizer's own rows, alone and together; then random ids over all of the vocabulary,
        of several lengths, with padding and without.

        Args:
            end: an id that ends every text and stands nowhere else; ``None``: any id anywhere.
        """
        own = pad_tokens(self.rows, self.built.tokenizer.pad_id)
        yield own["ids"], own["mask"]
        one = pad_tokens(self.rows[:1], self.built.tokenizer.pad_id)
        yield one["ids"], one["mask"]
        settings, generator = self.text_settings, torch.Generator().manual_seed(2)
        longest = settings.max_tokens
        for batch in (1, 2, 5):
            for length in sorted({1, 2, (longest + 1) // 2, longest}):
                ids = torch.randint(settings.vocab_size, (batch, length), generator=generator)
                lengths = torch.randint(1, length + 1, (batch, 1), generator=generator)
                masks = [torch.arange(length) < lengths, torch.ones_like(ids, dtype=torch.bool)]
                for mask in masks:
                    yield ids if end is None else _ended(ids, mask, end), mask

    def end_mark(self) -> int | None:
        """The id that ends every text and stands nowhere else in one; ``None``: there is none."""
        ends = {row[-1] for row in self.rows}
        if len(ends) != 1:
            return None
        (end,) = ends
        return None if any(end in row[:-1] for row in self.rows) else end

    def story(self) -> dict[str, Any]:
        """What every export's manifest says of the model."""
        config, manifest = self.built.config, self.built.manifest
        scale = self.built.model.logit_scale.detach()
        bias = self.built.model.logit_bias
        return {
            "engine": __version__,
            "name": config.name,
            "embed_dim": self.built.model.embed_dim,
            "logit_scale": float(scale),
            "scale": float(scale.exp()),
            "logit_bias": None if bias is None else float(bias.detach()),
            "zero_shot": config.zero_shot.model_dump(mode="json"),
            "weights": manifest.get("weights", {}),
            "stages": manifest.get("stages", []),
            "num_parameters": sum(p.numel() for p in self.built.model.parameters()),
            "artifact": identity_of(manifest),
            "warnings": self.built.warnings,
        }


def read_source(artifact: Path) -> Source:
    """Read an artifact for export.

    Raises:
        ArtifactError, ConfigError: see ``engine.core.build.read_artifact``.
    """
    return source_of(read_artifact(artifact))


def source_of(built: Built) -> Source:
    """A model in memory as the source of an export.

    Raises:
        WeightsError: a number of it is not finite.
    """
    check_filled(built.config.name, built.model)
    settings = built.model.text.settings
    texts = _texts(built, settings.max_tokens)
    rows = built.tokenizer.encode(texts, settings.max_tokens)
    return Source(built, texts, tuple(tuple(row) for row in rows))


def _texts(built: Built, max_tokens: int) -> tuple[str, ...]:
    templates = built.config.zero_shot.templates
    framed = [template.replace("{}", word) for template in templates for word in _WORDS[:4]]
    return tuple(dict.fromkeys([*_WORDS, *framed, "слово и дело " * max_tokens, ""]))


def _ended(ids: Tensor, mask: Tensor, end: int) -> Tensor:
    """Ids with ``end`` at every row's last place, and with another id where it stood elsewhere."""
    others = torch.where(ids == end, end - 1 if end else 1, ids)
    return others.scatter(1, last_place(mask)[:, None], end)


_OTHER = (
    "the exported form does not compute what the model does: a fault of the exporter, or of a"
    " plugin that branches on its data"
)


class Worst:
    """The largest difference so far, and what it was seen on.

    Attributes:
        difference: between two numbers of an embedding.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.difference = 0.0
        self._batches = 0

    def compare(self, found: Tensor, expected: Tensor, case: Sequence[int]) -> None:
        """Hold one batch of embeddings to the model's own.

        Raises:
            WeightsError: they differ by more than ``TOLERANCE``, in shape, or hold no numbers.
        """
        where = f"on an input of shape {tuple(case)}"
        if found.shape != expected.shape:
            raise WeightsError(
                f"{self.what} gives embeddings of shape {tuple(found.shape)} {where}; the model"
                f" gives {tuple(expected.shape)}; nothing was written",
                hint=_OTHER,
            )
        difference = float((found - expected).abs().max())
        if not difference <= TOLERANCE:  # not a number is not agreement
            raise WeightsError(
                f"{self.what} differs from the model by {difference:.2e} {where}; at most"
                f" {TOLERANCE:.0e} is allowed, so nothing was written",
                hint=_OTHER,
            )
        self.difference = max(self.difference, difference)
        self._batches += 1

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "largest_difference": self.difference,
            "allowed": TOLERANCE,
            "batches": self._batches,
        }

"""``trim_vocabulary``: rows of the token table that the texts to come cannot need are left out.

Source: Ushio et al., 2023, arXiv:2305.15020 (vocabulary trimming), there by a corpus. Here every
token stays that the characters of the languages can spell, so that nothing changes for their texts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.unicode import bounded_normalise
from engine.errors import ConfigError
from engine_plugins.compressors.alphabets import (
    languages,
    letters_of,
    script_of,
    scripts_in,
)
from engine_plugins.compressors.settings import TrimVocabularySettings

if TYPE_CHECKING:
    from torch import Tensor

_FEW = 0.5
"""Share of the letters that may be unknown to a tokenizer that can spell a language: one that was
trained on few texts lacks some. A script has the letters of many languages: one of them is enough.
"""

_EXAMPLES = 200

_NAMED = 8
"""Languages that are named in a sentence; the manifest has all of them."""


class TrimVocabulary(Compressor):
    """Keeps the rows of the tokens that some languages, or some texts, can need."""

    settings: TrimVocabularySettings

    @property
    def lossless(self) -> str | None:
        """Texts of the languages; with a corpus alone: the given texts."""
        named = self.settings.languages
        written = f"texts written with the letters of {', '.join(named)}" if named else ""
        own = "the given texts" if self.settings.corpus else ""
        return " and ".join(filter(None, [written, own]))

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """The languages that the user named, else the scripts of the user's texts."""
        named = list(model.languages) or scripts_in(model.texts)
        return [{"languages": named, "corpus": bool(model.texts)}] if named else []

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """The new tokenizer, and the rows that stay.

        Raises:
            ConfigError: the vocabulary cannot be reached; a language is not known, or the tokenizer
                cannot spell it; a corpus is asked for and there are no texts.
        """
        tokenizer, own = model.tokenizer, self.settings
        if tokenizer is None:
            raise ConfigError(
                "the vocabulary cannot be trimmed: it cannot be reached from here",
                hint="build the model first, and fit the artifact",
            )
        if own.corpus and not model.texts:
            raise ConfigError("the vocabulary cannot be trimmed by texts: there are none")
        for name in own.languages:
            _check_spelled(tokenizer, name)
        texts = list(model.texts) if own.corpus else []
        letters = letters_of(own.languages) if own.languages else set()
        made, kept = tokenizer.trimmed(letters, texts)
        rows = model.text.vocab_size
        if len(kept) >= rows:
            return None
        changed = _others(tokenizer, made, kept, own.languages)
        return CompressionStep(
            {"text.vocab_size": len(kept)},
            f"{len(kept):,} of {rows:,} tokens stay: those that {self.lossless} can need",
            tokenizer=made,
            details={
                "languages": list(own.languages),
                "kept": len(kept),
                "of": rows,
                "changed_languages": changed,
            },
            examples=_examples(letters, texts) if letters else texts[:_EXAMPLES],
            # Where only unused rows go, nothing changes anywhere.
            outside=_outside(changed, own.languages) if len(kept) < tokenizer.vocab_size else "",
            work=kept,
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The kept rows of every tensor that has a row for each token."""
        import torch

        kept = torch.tensor(step.work)
        made = dict(tensors)
        for name, tensor in tensors.items():
            axes = [
                axis
                for axis, (old, new) in enumerate(zip(tensor.shape, shapes[name], strict=True))
                if old != new
            ]
            for axis in axes:
                made[name] = made[name].index_select(axis, kept)
        return made


def _check_spelled(tokenizer: Tokenizer, name: str) -> None:
    """Raise ConfigError where a tokenizer does not know letters of a language."""
    letters = sorted({c.lower() for c in letters_of([name]) if _is_basic(c)})
    if not letters:
        return
    # Ugaritic and cuneiform: two such characters look alike where the unknown has a token.
    nothing, *others = tokenizer.encode(["\U00010380", "\U00012000"], 16)
    if others[0] != nothing:
        return
    rows = tokenizer.encode(letters, 16)
    unknown = [c for c, row in zip(letters, rows, strict=True) if row == nothing]
    if len(unknown) > (_FEW * len(letters) if name in languages() else len(letters) - 1):
        scripts = ", ".join(sorted({script_of(c) for c in unknown}))
        raise ConfigError(
            f"the tokenizer cannot spell `{name}`: it does not know {len(unknown)} of its"
            f" {len(letters)} letters ({scripts}), such as {' '.join(unknown[:5])}",
            hint="leave the language out, or take a model whose vocabulary has it",
        )


def _is_basic(character: str) -> bool:
    """A letter that is not one of another alphabet with an accent."""
    plain = bounded_normalise("NFD", character)
    return character.isalpha() and len(plain) == 1 and len(character.lower()) == 1


def _examples(letters: set[str], texts: Sequence[str]) -> list[str]:
    """Texts of some letters, always the same, and the given ones: what must stay as it was."""
    draw = random.Random(7)
    ordered = sorted(letters)
    own = [c for c in ordered if c.isalpha()] or ordered
    made = [
        " ".join(
            "".join(draw.choices(own if draw.random() < 0.9 else ordered, k=draw.randint(1, 9)))
            for _ in range(draw.randint(1, 5))
        )
        for _ in range(_EXAMPLES)
    ]
    return [*made, *texts[:_EXAMPLES]]


def _outside(changed: Sequence[str], named: Sequence[str]) -> str:
    """What changes for other texts, in a sentence."""
    others = len(languages()) - sum(name in languages() for name in named)
    if not changed:
        return f"in {others} other languages each letter keeps its tokens, but words may not"
    few = ", ".join(changed[:_NAMED]) + (", ..." if len(changed) > _NAMED else "")
    return (
        f"letters of {len(changed)} of {others} other languages ({few}) get other tokens, or the"
        " unknown one"
    )


def _others(old: Tokenizer, new: Tokenizer, kept: Sequence[int], named: Sequence[str]) -> list[str]:
    """The languages of which single letters have other tokens than before."""
    alphabets = {name: letters_of([name]) for name in languages() if name not in named}
    letters = sorted(set().union(*alphabets.values()))  # languages share most of theirs
    ours, theirs = new.encode(letters, 16), old.encode(letters, 16)
    changed = {
        letter
        for letter, a, b in zip(letters, ours, theirs, strict=True)
        if [kept[i] for i in a] != b
    }
    return [name for name, own in alphabets.items() if not changed.isdisjoint(own)]

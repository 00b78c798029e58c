"""Towers and tokenizers held against what lies beside their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.contracts.description import (
    Description,
    Difference,
    Fact,
    Table,
    TextEnd,
    compare,
    equal,
    shown,
)
from engine.contracts.settings import Settings
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.tower import Tower, VisionTower
from engine.core.descriptions.files import describe_vocabulary
from engine.core.descriptions.pictures import PICTURES, picture_differences
from engine.errors import WeightsError

TOKENIZER = "model.text.tokenizer"
"""The tokenizer's place in a config."""

_TRIED = ("a", "кот", "a red cat, 12", "красный дом на фото", "")
_FREE = ("weights", "tokenizer", "arch", "max_tokens", "n_positions")
_FREE_OF_TOKENIZER = ("from", "otherwise", "min_frequency", "file")
"""Settings that may differ from those of the artifact that a tower or a tokenizer comes from."""


def differences(
    tower: Tower, descriptions: Sequence[Description], end: TextEnd | None = None
) -> list[Difference]:
    """What descriptions say of a tower's weights that it does not do.

    Where one file is of a program that the tower knows, the others are of other models in the same
    folder: a repository of timm may hold an image model and the CLIP that it is a part of.

    Args:
        tower: the tower, its weights loaded or not.
        descriptions: what lies beside its weights.
        end: how the config's tokenizer ends a text.
    """
    known = {"engine"} | {table.program for table in tower.described}
    main = [d for d in descriptions if not d.aside]
    if any(d.program in known for d in main):
        main = [d for d in main if d.program in known]
    found: list[Difference] = []
    for one in main:
        if one.program == "engine":
            found += _of_engine(tower, one)
        else:
            found += tower.described_by(replace(one, end=end))
    for one in descriptions:
        if one.program.endswith(PICTURES) and isinstance(tower, VisionTower):
            found += picture_differences(tower.preprocess, one)
        elif one.aside:
            found += tower.described_by(replace(one, end=end))
    return found


def _of_engine(tower: Any, description: Description) -> list[Difference]:
    """Settings that differ from those of an artifact's tower.

    Those that the tower's tables name change what is computed. Others (a learning detail of a third
    party's tower, say) are warnings; where they change a shape, the tensors do not fit anyway.
    """
    facts = [fact for table in tower.described for fact in table.facts]
    deciding = {fact.setting for fact in facts if fact.refuse}
    return [
        Difference(message, key in deciding)
        for key, message in _other_settings(tower.settings, description, _FREE).items()
    ]


def _other_settings(
    settings: Settings, description: Description, free: Sequence[str]
) -> dict[str, str]:
    """Settings that are not the artifact's, with a clause that says so."""
    own = settings.model_dump(mode="json", by_alias=True)
    return {
        key: f"`{key}` is {shown(theirs)} in {description.place}; it is {shown(own[key])} in the"
        " config"
        for key, theirs in description.values.items()
        if key in own and key not in free and not equal(theirs, own[key])
    }


def _of_tokenizer(tokenizer: Any, description: Description) -> list[Difference]:
    if description.program != "engine":
        found: list[Difference] = tokenizer.described_by(description)
        return found
    # `null` is what the vocabulary says itself.
    own = {k: v for k, v in description.values.items() if v is not None}
    stated = replace(description, values=own)
    settings = getattr(tokenizer, "settings", None)  # a contract of towers; most tokenizers too
    if not isinstance(settings, Settings):
        return []
    others = _other_settings(settings, stated, _FREE_OF_TOKENIZER)
    return [Difference(message) for message in others.values()]


def tokenizer_differences(
    tokenizer: Tokenizer, source: str, max_tokens: int
) -> dict[str, list[Difference]]:
    """What lies beside a vocabulary and the tokenizer does not do, by places in the config.

    Args:
        tokenizer: the tokenizer.
        source: where the vocabulary comes from, or weights that are imported with it.
        max_tokens: the longest sequence that the text encoder is given.
    """
    descriptions = describe_vocabulary(source, {table.program for table in tokenizer.described})
    return {
        TOKENIZER: [d for one in descriptions for d in _of_tokenizer(tokenizer, one)],
        "model.text": [
            d
            for one in descriptions
            if one.program == "transformers"
            for d in compare(max_tokens, _LENGTHS, one)
        ],
    }


def _fits(theirs: Any, ours: Any) -> bool:
    """``model_max_length`` is 1e30 where there is no limit."""
    number = isinstance(theirs, (int, float)) and not isinstance(theirs, bool)
    return theirs is None or (number and bool(ours <= theirs))


_LENGTHS = (
    Table("transformers", (), (
        Fact("model_max_length", lambda n: n, "max_tokens", same=_fits, also=("max_len",)),
        Fact("truncation_side", lambda n: "right", refuse=False,
             note="a text that is too long loses its end"),
    ), strict=False),
)  # fmt: skip


def text_end(tokenizer: Tokenizer, max_tokens: int) -> TextEnd:
    """How a tokenizer ends a text, by a few texts."""
    rows = tokenizer.encode(_TRIED, max_tokens)
    ends = {row[-1] for row in rows}
    mark = ends.pop() if len(ends) == 1 else None
    if mark is not None and any(mark in row[:-1] for row in rows):
        mark = None
    return TextEnd(mark, mark == tokenizer.vocab_size - 1)


def check(found: Mapping[str, Sequence[Difference]], source: str) -> dict[str, list[str]]:
    """Refuse differences that change what is computed; give the others as sentences.

    Args:
        found: differences by the plugin's place in the config (``"model.text"``).
        source: where the weights or the vocabulary come from, for the message.

    Returns:
        Warnings by the same places.

    Raises:
        WeightsError: there are differences that change what is computed; all are listed.
    """
    refused = [f"  {place}: {d.message}" for place, some in found.items() for d in some if d.refuse]
    if refused:
        lines = "\n".join(dict.fromkeys(refused))
        raise WeightsError(
            f"what lies beside {source} contradicts the config:\n{lines}",
            hint="the same tensors would compute something else: set the config to these values;"
            " what a plugin has no setting for, it cannot compute",
        )
    return {
        place: list(dict.fromkeys(f"{place}: {d.message}" for d in some))
        for place, some in found.items()
    }

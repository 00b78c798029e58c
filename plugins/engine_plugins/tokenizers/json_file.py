"""Any `tokenizer.json` of the library `tokenizers`, as it is.

Source: github.com/huggingface/tokenizers; model2vec and many sentence encoders carry such a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.sources import find_source
from engine.errors import ConfigError, WeightsError
from engine_plugins.tokenizers.base import Parts, RustTokenizer
from engine_plugins.tokenizers.bpe import byte_numbers
from engine_plugins.tokenizers.hub_file import HubVocabulary, read_document, vocabulary_of
from engine_plugins.tokenizers.settings import TokenizerJsonSettings
from engine_plugins.tokenizers.spm_model import SPACE
from engine_plugins.tokenizers.trim import Spelling

_FILE = "tokenizer.json"


class TokenizerJson(RustTokenizer[TokenizerJsonSettings]):
    """The file's own steps, and the marks that its post-processor puts around a text."""

    name = "tokenizer_json"

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return _spelling(json.loads(self._parts.backend.to_str()))

    @classmethod
    def read(cls, settings: TokenizerJsonSettings) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        path = find_source(settings.from_, [_FILE])[_FILE]
        document = read_document(path)
        vocabulary = vocabulary_of(document, str(path))
        begin, end = _around(document.get("post_processor"), str(path))
        if not settings.marks:
            begin, end = (), ()
        return Parts(
            vocabulary.backend,
            begin=begin,
            end=end,
            pad=_padding(document, vocabulary),
            unknown=_unknown(document, vocabulary),
        )

    @classmethod
    def learn(
        cls, settings: TokenizerJsonSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        raise ConfigError(
            "the tokenizer `tokenizer_json` reads a file and cannot be trained",
            hint="use the tokenizer `trained`, or name a source with `from`",
        )


def _spelling(document: Mapping[str, Any]) -> Spelling:
    """How the file's own steps and its model write the parts of a text."""
    steps = [*_steps(document.get("normalizer")), *_steps(document.get("pre_tokenizer"))]
    kinds = {step.get("type") for step in steps}
    spaces = [step.get("replacement", SPACE) for step in steps if step.get("type") == "Metaspace"]
    model = document["model"]
    return Spelling(
        prefix=model.get("continuing_subword_prefix") or "",
        suffix=model.get("end_of_word_suffix") or "",
        space="".join(spaces),
        alphabet=byte_numbers() if "ByteLevel" in kinds else None,
    )


def _steps(step: Any) -> list[Mapping[str, Any]]:
    """A normaliser or pre-tokenizer, or the parts of a sequence of them."""
    if not isinstance(step, Mapping):
        return []
    parts = step.get("normalizers") or step.get("pretokenizers")
    return [one for part in parts for one in _steps(part)] if parts else [step]


def _around(processor: Any, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a post-processor puts before and after one text.

    Raises:
        WeightsError: it does something else.
    """
    if processor is None:
        return (), ()
    kind = processor.get("type") if isinstance(processor, Mapping) else None
    try:
        if kind == "Sequence":
            begin: tuple[int, ...] = ()
            end: tuple[int, ...] = ()
            for one in processor["processors"]:
                first, last = _around(one, where)
                begin, end = (*first, *begin), (*end, *last)
            return begin, end
        if kind == "ByteLevel":
            return (), ()
        if kind in ("BertProcessing", "RobertaProcessing"):
            return (int(processor["cls"][1]),), (int(processor["sep"][1]),)
        if kind == "TemplateProcessing":
            return _of_template(processor)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"{where}: its post-processor is damaged: {error}") from error
    raise WeightsError(f"{where}: a post-processor of the kind {str(kind)[:40]} is not supported")


def _of_template(processor: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ids = {name: tuple(map(int, one["ids"])) for name, one in processor["special_tokens"].items()}
    before: list[int] = []
    after: list[int] = []
    seen = False
    for step in processor["single"]:
        if "Sequence" in step:
            seen = True
        else:
            (after if seen else before).extend(ids[step["SpecialToken"]["id"]])
    return tuple(before), tuple(after)


def _padding(document: Mapping[str, Any], vocabulary: HubVocabulary) -> int:
    """The id that fills a row up: the file's own, else of a token that is called so, else 0."""
    padding = document.get("padding")
    stated = padding.get("pad_id") if isinstance(padding, Mapping) else None
    known = set(vocabulary.backend.get_vocab(with_added_tokens=True).values())
    named = (vocabulary.ids.get(token) for token in ("[PAD]", "<pad>"))
    return next((i for i in (stated, *named) if isinstance(i, int) and i in known), 0)


def _unknown(document: Mapping[str, Any], vocabulary: HubVocabulary) -> int | None:
    model = document["model"]
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    return vocabulary.ids.get(str(model.get("unk_token")))

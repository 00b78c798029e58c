"""A lexicon: phrases of one language with their translations, for teaching a text encoder.

The student reads the phrase, a teacher its translations (Reimers and Gurevych, 2020,
arXiv:2004.09813). Sources: Unicode CLDR's annotations of emoji, dictionaries in dictd's format.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from engine.contracts import Dataset, Record
from engine.core.terminal import console
from engine.errors import DataError
from engine_plugins.datasets.cldr import read_annotations
from engine_plugins.datasets.dictd import read_dictd, translations
from engine_plugins.datasets.settings import LexiconSettings

_LATIN_SCRIPT = frozenset(
    {"af", "az", "ca", "cs", "cy", "da", "de", "en", "es", "et", "eu", "fi", "fr", "ga", "gl", "hr",
     "hu", "id", "is", "it", "la", "lt", "lv", "ms", "mt", "nl", "no", "pl", "pt", "ro", "sk", "sl",
     "sq", "sv", "sw", "tr", "uz", "vi"}
)  # fmt: skip
_MAX_TEXT = 512
"""Characters of a phrase or of a translation; longer ones are left out."""

_DEBIAN = {"annotations": "unicode-cldr-core", "mueller7": "mueller7-dict"}

Pairs = Iterable[tuple[str, str, float]]
"""A phrase, a translation of it, and how much that translation counts."""


@dataclass
class _Phrase:
    """A phrase with its translations by weight, and what its row counts."""

    translations: dict[str, float]
    weight: float
    source: int


class Lexicon(Dataset):
    """A row a phrase: its queries are the phrase and its translations, with their languages.

    Sources count in this order: CLDR's names, dictionaries, CLDR's keywords. A phrase that one of
    them translates is not looked up in the later ones. Of a dictionary, a word that stands in
    place p of an entry of n words counts ``n ** common / (1 + p) ** fade``: entries of common words
    are long. ё and the like are the tokenizer's affair.

    Attributes:
        counts: phrases by source, for reports.
        left_out: how many entries and pairs are not used, by the reason: ``malformed``,
            ``overlong``, ``empty``.
        note: what could not be read and what stands in its place; empty where nothing is missing.
    """

    has_images = False

    def __init__(self, settings: LexiconSettings) -> None:
        self.settings = settings
        self.name = f"lexicon-{settings.language}-{settings.translation}"
        self.note = ""
        self.left_out: Counter[str] = Counter()
        sources = self._sources()
        found = _collect(sources, self.left_out)
        held = settings.split == "test"
        self._rows = [
            (phrase, one)
            for phrase, one in sorted(found.items())
            if not settings.held_out or _is_held_out(phrase, settings) == held
        ]
        self.counts = {
            name: sum(one.source == number for _, one in self._rows)
            for number, (name, _, _) in enumerate(sources)
        }
        if not self._rows:
            raise DataError(f"{self.name}: no phrase is left", hint="name more sources")
        if self.left_out:
            words = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.left_out.items()))
            console(stderr=True).print(f"lexicon: entries left out: {words}", markup=False)
        if self.note:
            console(stderr=True).print(f"lexicon: {self.note}", markup=False)

    def _sources(self) -> list[tuple[str, Pairs, float]]:
        """Name, pairs and weight of each source that is there, in the order of their rank."""
        settings = self.settings
        missing = _missing(settings)
        if missing and settings.otherwise is None:
            raise DataError(
                f"lexicon: {', '.join(map(str, missing))} missing",
                hint=f"install Debian's packages {', '.join(_packages(missing))}; or set"
                " `otherwise: emoji` for a smaller lexicon of the Python package emoji",
            )
        found: list[tuple[str, Pairs, float]] = []
        if settings.cldr is not None and settings.cldr not in missing:
            found.append(("cldr names", _cldr_names(settings), settings.cldr_weight))
        for path in settings.dictionaries:
            if path not in missing:
                found.append((path.name, _dictionary(path, settings, self.left_out), 1.0))
        if settings.cldr is not None and settings.cldr not in missing and settings.keywords:
            found.append(("cldr keywords", _cldr_keywords(settings), settings.cldr_weight))
        if missing or not found:
            found.insert(0, ("emoji", _emoji(settings), settings.cldr_weight))
        if missing:
            self.note = (
                f"{', '.join(map(str, missing))} missing (Debian's"
                f" {', '.join(_packages(missing))}): the names of the package emoji stand in, with"
                " some 5,000 phrases instead of 77,000; a name that is not among them is answered"
                " by its letters alone"
            )
        return found

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        if not 0 <= index < len(self._rows):
            raise IndexError(index)
        phrase, one = self._rows[index]
        own, other = self.settings.language, self.settings.translation
        texts = tuple(one.translations)
        return Record(
            phrase,
            (phrase, *texts),
            weight=one.weight,
            languages=(own, *(other for _ in texts)),
            text_weights=(1.0, *one.translations.values()),
        )


def _collect(sources: list[tuple[str, Pairs, float]], left_out: Counter[str]) -> dict[str, _Phrase]:
    found: dict[str, _Phrase] = {}
    for number, (_, pairs, weight) in enumerate(sources):
        for phrase, translation, counts in pairs:
            phrase, translation = _plain(phrase), _plain(translation)
            if not phrase or not translation:
                left_out["empty"] += 1
                continue
            if max(len(phrase), len(translation)) > _MAX_TEXT:
                left_out["overlong"] += 1
                continue
            one = found.setdefault(phrase, _Phrase({}, weight, number))
            dictionaries = _is_dictionary(sources, one.source) and _is_dictionary(sources, number)
            if one.source != number and not dictionaries:
                continue
            before = one.translations.get(translation, 0.0)
            one.translations[translation] = max(before, counts)
    return found


def _is_dictionary(sources: list[tuple[str, Pairs, float]], number: int) -> bool:
    return sources[number][0] not in ("cldr names", "cldr keywords", "emoji")


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _is_held_out(phrase: str, settings: LexiconSettings) -> bool:
    """By a digest of the phrase, so that it does not depend on the other phrases."""
    place = zlib.crc32(f"{settings.seed}:{phrase}".encode()) / 2**32
    return place < settings.held_out


def _dictionary(
    path: Path, settings: LexiconSettings, left_out: Counter[str]
) -> Iterator[tuple[str, str, float]]:
    latin = settings.language.partition("-")[0] in _LATIN_SCRIPT
    for entry in read_dictd(path, lambda reason: left_out.update([reason])):
        phrases = translations(entry, latin=latin)
        commonness = len(phrases) ** settings.common
        for place, phrase in enumerate(phrases):
            yield phrase, entry.headword, commonness * (1 + place) ** -settings.fade


def _annotations(settings: LexiconSettings) -> Iterator[tuple[object, object]]:
    """The annotations of each character in both languages."""
    assert settings.cldr is not None
    for folder in ("annotations", "annotationsDerived"):
        own, other = (
            read_annotations(settings.cldr / folder / f"{language}.xml")
            for language in (settings.language, settings.translation)
        )
        for character, annotation in own.items():
            if character in other:
                yield annotation, other[character]


def _cldr_names(settings: LexiconSettings) -> Iterator[tuple[str, str, float]]:
    for own, other in _annotations(settings):
        yield own.name, other.name, 1.0  # type: ignore[attr-defined]


def _cldr_keywords(settings: LexiconSettings) -> Iterator[tuple[str, str, float]]:
    """A keyword means what the characters are called that it stands at."""
    for own, other in _annotations(settings):
        for keyword in own.keywords:  # type: ignore[attr-defined]
            yield keyword, other.name, 1.0  # type: ignore[attr-defined]


def _emoji(settings: LexiconSettings) -> Iterator[tuple[str, str, float]]:
    """CLDR's short names as the package emoji has them; its files are read, not imported."""
    spec = find_spec("emoji")
    homes = list(spec.submodule_search_locations or ()) if spec else []
    if not homes:
        raise DataError(
            "lexicon: the package emoji is not installed either", hint="`pip install emoji`"
        )
    tables = []
    for language in (settings.language, settings.translation):
        name = "emoji.json" if language == "en" else f"emoji_{language}.json"
        path = Path(homes[0]) / "unicode_codes" / name
        if not path.is_file():
            raise DataError(f"lexicon: the package emoji has no names in `{language}`")
        tables.append(json.loads(path.read_text(encoding="utf-8")))
    for character, name in tables[0].items():
        if character in tables[1]:
            yield (
                _emoji_name(name, settings.language),
                _emoji_name(tables[1][character], settings.translation),
                1.0,
            )


def _emoji_name(value: object, language: str) -> str:
    text = value.get(language, "") if isinstance(value, dict) else value
    return str(text).strip(":").replace("_", " ")


def _missing(settings: LexiconSettings) -> list[Path]:
    found = []
    if settings.cldr is not None:
        files = (settings.cldr / "annotations" / f"{language}.xml"
                 for language in (settings.language, settings.translation))  # fmt: skip
        if not all(file.is_file() for file in files):
            found.append(settings.cldr)
    for path in settings.dictionaries:
        if not path.with_name(f"{path.name}.index").is_file():
            found.append(path)
    return found


def _packages(missing: list[Path]) -> list[str]:
    """Debian's packages of the files in their usual places."""
    found = []
    for path in missing:
        if path.name == "common":
            found.append("unicode-cldr-core")
        elif path.name.startswith("freedict"):
            found.append(f"dict-{path.name}")
        else:
            found.append(_DEBIAN.get(path.name, f"dict-{path.name}"))
    return found

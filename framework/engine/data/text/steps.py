"""Cleaning steps that look at one text: each takes a text to a text; an empty one is dropped.

A step is a function that its settings make (:data:`TEXT_STEPS` names them all). What a step leaves
of white space at the ends does not count as a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine.contracts.settings import Settings
from engine.contracts.unicode import bounded_normalise
from engine.data.text import characters, lemmas, stopwords
from engine.data.text.words import words_of
from engine.errors import did_you_mean

Clean = Callable[[str], str]


class Unicode(Settings):
    """One way of writing each character; invisible characters out, control characters to spaces."""

    form: Literal["NFC", "NFKC"] = Field(
        "NFC", description="NFC keeps what is seen; NFKC also folds ligatures, full width, ²"
    )


def unicode(settings: Unicode) -> Clean:
    """``е`` with two dots becomes ``ё``; zero-width and direction marks go."""
    unseen = re.compile(f"[{characters.invisible()}]+")
    control = re.compile(f"[{characters.control()}]+")
    form = settings.form

    def clean(text: str) -> str:
        if not text.isprintable():
            text = control.sub(" ", unseen.sub("", text))
        elif not text.isascii():
            text = unseen.sub("", text)  # variation selectors count as printable
        return bounded_normalise(form, text)

    return clean


class Case(Settings):
    """Lower case."""


def case(settings: Case) -> Clean:
    """Every letter small."""
    return str.lower


class Links(Settings):
    """Links out."""

    bare: bool = Field(True, description="also site names without http or www: `avito.ru/moskva`")


_SITE = (
    r"(?<![\w.@-])(?:[\w-]{1,63}\.){1,4}"
    r"(?:ru|рф|su|com|net|org|info|biz|ua|by|kz|io|me|tv|de|uk|us|eu|pl|fr|cn)"
    r"(?:[/?:]\S*)?(?![\w-])"
)


def links(settings: Links) -> Clean:
    """A link becomes a space. Lengths are bounded: no text makes this slow."""
    sites = f"|{_SITE}" if settings.bare else ""
    link = re.compile(rf"(?i)(?:https?|ftp)://\S*|(?<![\w.@-])www\.\S+{sites}")

    def clean(text: str) -> str:
        if "." not in text and "://" not in text:
            return text
        while (without := link.sub(" ", text)) != text:  # `a.ruhttp://b`: the second uncovers one
            text = without
        return text

    return clean


class HashSigns(Settings):
    """Hash signs out."""

    words: bool = Field(False, description="the tag's word too, not the sign alone")


def hash_signs(settings: HashSigns) -> Clean:
    """``#котики`` becomes ``котики``."""
    tag = re.compile(r"[#＃]+\w*" if settings.words else r"[#＃]+")

    def clean(text: str) -> str:
        return tag.sub(" ", text) if "#" in text or "＃" in text else text

    return clean


def _check_script(name: str) -> str:
    known = [*characters.ALPHABETS, *characters.SCRIPTS]
    if name not in known:
        hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
        raise ValueError(f"no such script or alphabet: `{name}`{hint}")
    return name


Script = Annotated[str, AfterValidator(_check_script)]


class Letters(Settings):
    """Letters of given scripts stay, anything else becomes a space."""

    scripts: tuple[Script, ...] = Field(
        ("cyrillic", "latin"),
        min_length=1,
        description="scripts (cyrillic, latin, ...) or alphabets (russian, english)",
    )
    digits: bool = Field(True, description="0 to 9 stay, too")
    keep: str = Field("", max_length=100, description="further characters that stay, such as `-'`")


def letters(settings: Letters) -> Clean:
    """NFC first: ``ё`` and ``й`` survive however they were written; stress marks just vanish."""
    kept = "".join(map(characters.script, settings.scripts)) + re.escape(settings.keep)
    kept += "0-9" if settings.digits else ""
    marks = re.compile(f"(?![{kept}])[{characters.MARKS}]+")
    others = re.compile(rf"[^{kept}\s]+")

    def clean(text: str) -> str:
        if not text.isascii():
            text = marks.sub("", bounded_normalise("NFC", text))
        return others.sub(" ", text)

    return clean


class Punctuation(Settings):
    """Punctuation and symbols (emoji too) become spaces."""

    keep: str = Field("", max_length=100, description="characters that stay, such as `-`")


def punctuation(settings: Punctuation) -> Clean:
    """The Unicode categories P and S."""
    spare = f"(?![{re.escape(settings.keep)}])" if settings.keep else ""
    marks = re.compile(f"(?:{spare}[{characters.punctuation()}])+")

    def clean(text: str) -> str:
        return marks.sub(" ", text)

    return clean


class Spaces(Settings):
    """White space folded to single spaces, none at the ends."""


def spaces(settings: Spaces) -> Clean:
    """One space between words."""
    return lambda text: " ".join(text.split())


class StopWords(Settings):
    """Words that say nothing of a picture out."""

    languages: tuple[Literal["russian", "english"], ...] = ("russian", "english")
    also: tuple[str, ...] = Field((), description="further words to take out")
    keep: tuple[str, ...] = Field((), description="words of the lists that stay")


def stop_words(settings: StopWords) -> Clean:
    """Words are what white space parts; `ё` and `е` are one here."""
    words = {stopwords.fold(w) for name in settings.languages for w in stopwords.LISTS[name]}
    words |= {stopwords.fold(word) for word in settings.also}
    words -= {stopwords.fold(word) for word in settings.keep}

    def clean(text: str) -> str:
        split = text.split()
        left = [word for word in split if stopwords.fold(word) not in words]
        return text if len(left) == len(split) else " ".join(left)

    return clean


class Lemmas(Settings):
    """Russian words in their dictionary form (pymorphy3; the extra `engine-towers[text]`)."""

    score: float = Field(
        0.7, ge=0, le=1, description="how sure the analyser must be of the form; other words stay"
    )


class MinimalWords(Settings):
    """Texts of fewer words dropped."""

    words: int = Field(2, ge=1, description="a text with fewer is dropped")


def minimal_words(settings: MinimalWords) -> Clean:
    """Words are runs of letters and digits."""
    minimum = settings.words
    return lambda text: text if len(words_of(text)) >= minimum else ""


class MinimalLetters(Settings):
    """Texts of fewer letters dropped."""

    letters: int = Field(
        2, ge=1, description="a text with fewer is dropped; digits are not letters"
    )


def minimal_letters(settings: MinimalLetters) -> Clean:
    """Letters of any script."""
    minimum = settings.letters
    return lambda text: text if sum(map(str.isalpha, text)) >= minimum else ""


TEXT_STEPS: dict[str, tuple[type[Settings], Callable[..., Clean]]] = {
    "unicode": (Unicode, unicode),
    "case": (Case, case),
    "links": (Links, links),
    "hash_signs": (HashSigns, hash_signs),
    "letters": (Letters, letters),
    "punctuation": (Punctuation, punctuation),
    "spaces": (Spaces, spaces),
    "stop_words": (StopWords, stop_words),
    "lemmas": (Lemmas, lemmas.lemmas),
    "minimal_words": (MinimalWords, minimal_words),
    "minimal_letters": (MinimalLetters, minimal_letters),
}
"""Names, settings and what makes the function."""

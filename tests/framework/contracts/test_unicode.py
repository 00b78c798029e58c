"""Normalisation whose time is bounded: by the longest run of marks that Python's own is given."""

from __future__ import annotations

import ast
import itertools
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clusters.ngrams import ngrams_of
from engine.contracts import unicode
from engine.contracts.unicode import LONGEST_RUN, bounded_normalise
from engine.data.text.settings import STEPS, CleaningStep
from engine.data.text.stage import make_local
from engine.data.text.words import words_of
from engine_plugins.tokenizers.bpe import clip_clean
from engine_plugins.tokenizers.spm import plain

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
MARKS = "\u0301\u0316\u0344\u0f73\u0f75\uff9e\u3099\u0327\U0001d165\u05b0"
HOSTILE = {
    "two in turn": "a" + "\u0301\u0316" * 3000,
    "from the first on": "\u0316\u0301" * 3000,
    "after a prefix of its own": "я" * 17 + "\u0316\u0301" * 3000 + "б",
    "class 0 by itself": "a" + "\u0f73" * 3000,
    "compatible": "a" + "\uff9e\u0301" * 3000,
    "made of two": "e" + "\u0344\u0316" * 3000,
    "many runs": ("e" + "\u0301\u0316" * 100) * 30,
    "beyond the first plane": "a" + "\U0001d165\u0316" * 3000,
}


def step(name: str, **values: object) -> Callable[[str], object]:
    local = make_local(CleaningStep(name, STEPS[name].model_validate(values)))
    return lambda text: local([text], [0])


CALLERS: dict[str, Callable[[str], object]] = {
    "statistics": words_of,
    "clean: unicode": step("unicode"),
    "clean: unicode NFKC": step("unicode", form="NFKC"),
    "clean: letters": step("letters"),
    "clean: minimal_words": step("minimal_words"),
    "cluster names": lambda text: list(ngrams_of(text, 2)),
    "tokenizer: sentencepiece": plain,
    "tokenizer: clip": clip_clean,
}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The longest run in each text that Python's normalisation is asked for."""
    seen: list[int] = []
    honest = unicodedata.normalize

    class Counting:
        combining = staticmethod(unicodedata.combining)
        decomposition = staticmethod(unicodedata.decomposition)

        @staticmethod
        def normalize(form: str, text: str) -> str:
            marks = "".join("m" if c in unicode._marks() else " " for c in text)
            seen.append(max(map(len, marks.split()), default=0))
            return honest(form, text)  # type: ignore[arg-type]

    unicode._marks()
    monkeypatch.setattr(unicode, "unicodedata", Counting)
    monkeypatch.setattr(ftfy, "unicodedata", Counting)
    return seen


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("caller", CALLERS)
def test_no_caller_normalises_a_long_run(caller: str, text: str, runs: list[int]) -> None:
    CALLERS[caller](text)
    if caller != "tokenizer: clip":  # which may have nothing to mend
        assert runs
    assert max(runs, default=0) <= LONGEST_RUN


def test_marks_that_ftfy_makes_are_bounded_too(runs: list[int]) -> None:
    """Of HTML, and of wrong encodings."""
    for text in ("a" + "&#769;&#790;" * 2000, "a" + "Ì\x81Ì\x96" * 2000):
        clip_clean(text)
    assert max(runs) <= LONGEST_RUN


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_is_left_of_a_long_run(form: str, text: str) -> None:
    found = bounded_normalise(form, text)  # type: ignore[arg-type]
    assert bounded_normalise(form, found) == found  # type: ignore[arg-type]
    assert len(found) < len(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.text(MARKS, max_size=LONGEST_RUN // 3)), max_size=6
    ),
    st.sampled_from(FORMS),
)
def test_other_texts_are_normalised_as_ever(parts: list[tuple[str, str]], form: str) -> None:
    text = "ы".join(left + marks for left, marks in parts)
    # Characters that become several marks can make a run longer than it was written.
    expected = shortened(unicodedata.normalize(form, shortened(text)))  # type: ignore[arg-type]
    assert bounded_normalise(form, text) == expected  # type: ignore[arg-type]


def shortened(text: str) -> str:
    """``text`` with the first marks of each run alone, found mark by mark."""
    groups = itertools.groupby(text, unicode._marks().__contains__)
    runs = ((mark, "".join(group)) for mark, group in groups)
    return "".join(run[:LONGEST_RUN] if mark else run for mark, run in runs)


@pytest.mark.parametrize("length", [LONGEST_RUN - 1, LONGEST_RUN, LONGEST_RUN + 1, 2 * LONGEST_RUN])
@pytest.mark.parametrize("before", range(0, 64, 7))
def test_the_limit_holds_wherever_a_run_begins(before: int, length: int) -> None:
    text = "я" * before + "\u0316" * length + "б" * 40
    kept = "я" * before + "\u0316" * min(length, LONGEST_RUN) + "б" * 40
    assert bounded_normalise("NFC", text) == kept


def test_every_mark_is_known() -> None:
    """Against the whole Unicode database of this Python."""
    for char in map(chr, range(sys.maxunicode + 1)):
        if not 0xD800 <= ord(char) <= 0xDFFF:
            first = unicodedata.normalize("NFKD", char)[0]
            assert (char in unicode._marks()) == (unicodedata.combining(first) > 0), hex(ord(char))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aéе\u0308\u0301Ã©&amp;#769; ﬁ<Ì\x81\nЯ😀"), max_size=40))
def test_clip_texts_are_cleaned_as_ever(text: str) -> None:
    import html

    once = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clip_clean(text) == " ".join(once.split()).lower()


def test_nothing_else_normalises() -> None:
    """Whoever needs a normal form takes the bounded one."""
    root = Path(unicode.__file__).parents[3]
    for path in [*root.glob("framework/**/*.py"), *root.glob("plugins/**/*.py")]:
        if path != Path(unicode.__file__):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert (node.value.id, node.attr) != ("unicodedata", "normalize"), path

"""Cleaning steps one by one, and on any text at all."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.text import stopwords
from engine.data.text.settings import STEPS, CleaningStep
from engine.data.text.stage import make_local
from engine.data.text.words import words_of
from engine.errors import DataError

ODD = "\u200b\u200f\u202e\ufeff\u00ad\x00\x07\t\n\u0301\u0308\ufe0f_#.@/-:ёЁйЙеЕaAЯя1 \u00a0w"
TEXT = st.one_of(
    st.text(max_size=40), st.text(ODD, max_size=40),
    st.lists(st.sampled_from(["http://a.ru/b", "www.x.y", "avito.ru", "#ёж", "ЁЖ", "и", "a.b.com",
                              "//", "the", "кот"]), max_size=6).map(" ".join),
    st.lists(st.sampled_from(["http://", "a.ru", "www.", "b.com", ",", ".", "@", "x"]),
             max_size=8).map("".join),
).map(lambda text: "".join(c for c in text if not "\ud800" <= c <= "\udfff"))  # fmt: skip

LOCAL = ["unicode", "case", "links", "hash_signs", "letters", "punctuation", "spaces",
         "stop_words", "minimal_words", "minimal_letters"]  # fmt: skip


def run(name: str, text: str, **values: Any) -> str:
    step = CleaningStep(name, STEPS[name].model_validate(values))
    return make_local(step)([text], [0])[0]


@pytest.mark.parametrize(
    ("step", "values", "before", "after"),
    [
        ("unicode", {}, "ко\u200bт\u00ad е\u0308ж", "кот ёж"),
        ("unicode", {}, "а\tб\x00в", "а б в"),
        ("unicode", {}, "кот\U000e0041\U000e0101", "кот"),
        ("unicode", {}, "\u202eкот\u202c\ufeff ❤️", "кот ❤"),
        ("unicode", {}, "ﬁ²", "ﬁ²"),
        ("unicode", {"form": "NFKC"}, "ﬁ²", "fi2"),
        ("case", {}, "Ёж ЙОД Cat", "ёж йод cat"),
        ("links", {}, "кот http://a.ru/x?y#z видео", "кот   видео"),
        ("links", {}, "www.site.org/кот ёж", "  ёж"),
        ("links", {}, "авито avito.ru/moskva купить", "авито   купить"),
        ("links", {"bare": False}, "avito.ru кот", "avito.ru кот"),
        ("links", {}, "т.е. кот. Пёс.", "т.е. кот. Пёс."),
        ("links", {}, "name@mail.ru", "name@mail.ru"),
        ("hash_signs", {}, "#котики ёж#2", " котики ёж 2"),
        ("hash_signs", {"words": True}, "ёж #котики_и ещё", "ёж   ещё"),
        ("letters", {}, "ёжик, й́од iPhone-7 漢", "ёжик  йод iPhone 7  "),
        ("letters", {"scripts": ["russian"], "digits": False}, "ёЁ cat 5 Київ", "ёЁ     Ки в"),
        ("letters", {"scripts": ["english"], "keep": "'-"}, "it's a-b é", "it's a-b  "),
        ("letters", {"scripts": ["han"]}, "漢字 кот", "漢字  "),
        ("letters", {"scripts": ["devanagari"]}, "हिन्दी", "हिन्दी"),
        ("punctuation", {}, "кто-то, «ёж»! 😀_x", "кто то   ёж     x"),
        ("punctuation", {"keep": "-"}, "кто-то!", "кто-то "),
        ("spaces", {}, " a \u00a0 b\n", "a b"),
        ("stop_words", {}, "Кот и её ёж the cat", "Кот ёж cat"),
        ("stop_words", {"keep": ["И"], "also": ["кот"]}, "кот и ещё пес", "и пес"),
        ("stop_words", {"languages": ["english"]}, "и the", "и"),
        ("minimal_words", {}, "кот", ""),
        ("minimal_words", {}, "кот-кот", "кот-кот"),
        ("minimal_words", {"words": 1}, "!!!", ""),
        ("minimal_letters", {}, "я 55", ""),
        ("minimal_letters", {}, "яё", "яё"),
    ],
)  # fmt: skip
def test_step(step: str, values: dict[str, Any], before: str, after: str) -> None:
    found = run(step, before, **values)
    assert " ".join(found.split()) == " ".join(after.split())
    assert found == after or step in ("letters", "punctuation", "hash_signs", "links")


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from(LOCAL))
def test_any_text_and_twice_is_once(text: str, step: str) -> None:
    once = run(step, text)
    assert not once.isspace()
    assert run(step, once) == once


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_order_of_the_default_is_idempotent(text: str) -> None:
    def whole(text: str) -> str:
        for step in ("unicode", "case", "links", "hash_signs", "letters", "spaces"):
            text = run(step, text)
        return text

    once = whole(text)
    assert whole(once) == once
    assert once == unicodedata.normalize("NFC", once)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_yo_and_short_i_survive(left: str, right: str) -> None:
    for written in ("ёй", "е\u0308и\u0306", "ё\u200bй"):
        text = f"{left} {written} {right}"
        for step in ("unicode", "case", "letters", "punctuation", "spaces"):
            values = {"scripts": ["russian"]} if step == "letters" else {}
            text = run(step, text, **values)
        assert "ёй" in text.split()


@pytest.mark.parametrize("step", LOCAL)
@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "a-" * 50_000, "a." * 50_000, "http://" * 14_000, "www." * 25_000,
     "#" * 100_000, "\u0301" * 100_000, " " * 100_000, "ё " * 50_000, "a.ru" * 25_000,
     ("a" * 63 + ".") * 1500],
)  # fmt: skip
def test_long_texts(step: str, text: str) -> None:
    assert len(run(step, text)) <= len(text)  # a quadratic step would take many minutes here


def test_stop_words_are_no_things() -> None:
    for words in stopwords.LISTS.values():
        assert len(words) > 100
        assert not words & {"кот", "красный", "два", "без", "man", "red", "two", "no", "not", "не"}
        assert all(word == word.lower() and len(words_of(word)) == 1 for word in words)


def test_lemmas() -> None:
    pytest.importorskip("pymorphy3_dicts_ru")
    assert (
        run("lemmas", "купить кроссовки ёжикам из-за Белки") == "купить кроссовок ёжик из-за Белки"
    )
    assert run("lemmas", "Белки", score=0.5) == "белка"  # squirrel's, or proteins: 0.5 each
    assert run("lemmas", "phone, стали 5") == "phone, стать 5"
    assert run("lemmas", "стали", score=1.0) == "стали"  # they became, or of steel
    assert run("lemmas", "ы" * 100) == "ы" * 100


KEPT = [
    "кот2", "2кота", "h2о", "а4 б5", "д", "в с к", "т.е. т.д.", "wi-fi-роутеры", "3-комнатные",
    "iphone-чехлы", "чехлы-iphone", "cобаки", "київські", "қалалар", "коты\u0301", "е\u0308жики",
    "об'екты", "д\u2019артаньяны", "диваны\u2011кровати", "ко\u00adты", "м²", "а-а", "wi-fi",
]  # fmt: skip
CHANGED = [
    ("3д принтеры", "3д принтер"), ("wi-fi роутеры", "wi-fi роутер"), ("размеры М Л", "размер М Л"),
    ("стальные№стальные", "стальной№стальной"), ("'ёжиками'", "'ёжик'"), ("«ёжиками»", "«ёжик»"),
    ("-ёжиками-", "-ёжик-"), ("ёжиками_ёжиками", "ёжик_ёжик"), ("ёжиками,ёжиками", "ёжик,ёжик"),
    ("2.ёжиками", "2.ёжик"), ("серо-зелёными", "серо-зелёный"), ("ёжиками–", "ёжик–"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [*CHANGED, *((text, text) for text in KEPT)])
def test_lemmas_of_whole_words_only(before: str, after: str) -> None:
    pytest.importorskip("pymorphy3_dicts_ru")
    assert run("lemmas", before, score=0.0) == after


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ёжиками3hї", min_size=1, max_size=8), max_size=5))
def test_lemmas_keep_what_is_mixed(words: list[str]) -> None:
    pytest.importorskip("pymorphy3_dicts_ru")
    kept = run("lemmas", " ".join(words), score=0.0).split()
    assert len(kept) == len(words)
    for before, after in zip(words, kept, strict=True):
        assert before == after or not set(before) & set("3hї")


def test_lemmas_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymorphy3", None)
    with pytest.raises(DataError, match="needs pymorphy3") as found:
        run("lemmas", "кот")
    assert "engine-towers[text]" in str(found.value)

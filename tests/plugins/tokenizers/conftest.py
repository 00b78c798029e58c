"""Random texts for the comparisons with the tokenizers' originals."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

import pytest

RUSSIAN = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
WORDS = (
    "кот собака красный дом на фото видно изображение с машина, которое лежит! Привет МИР ЁЖ ёлка"
    " don't it's we'll they've I'm you'd he's 'S 'T 'ſ &amp; &quot;x&quot; &lt;b&gt; 123 4567 3.14"
    " 1,000 a1b2 cat the photo of a dog schön naïve café “quoted” ‘x’ Ã© â€™ ... !!! ?? :-)"
    " http://a.b/c?d=e&f=g #tag @user_name йод"
)
ODD = (
    "«»—–…№₽°½²³ªµßſﬁﬆ é é й ё ｶﾞＡａ１㍿①中文字한국어ㄱｶﾞעבריתالعربيةहिन्दी🙂👍🏽👨‍👩‍👧🇷🇺"
    "\u200b\u200d\ufeff\u00a0\u3000\u2028\u2029\u0085\u00ad\x00\x01\x1c\x1f\x7f\t\n\r\x0b\x0c"
    "ΑΒΓΣς İıŞǅΩK̈¨▁'’‘“”`´ &amp; &lt; &nbsp; &#39; &amp;amp;"
)


def _text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return " ".join(rng.choice(WORDS.split(" ")) for _ in range(rng.randint(0, 12)))
    if kind < 0.6:
        letters = RUSSIAN + RUSSIAN.upper() + "   .,-!0123456789'"
        return "".join(rng.choice(letters) for _ in range(rng.randint(0, 60)))
    if kind < 0.8:
        return "".join(rng.choice(RUSSIAN + " " + ODD) for _ in range(rng.randint(0, 40)))
    if kind < 0.9:
        return "".join(rng.choice(ODD) for _ in range(rng.randint(0, 20)))
    if kind < 0.95:
        return "".join(rng.choice("abc aab") for _ in range(rng.randint(0, 40)))
    points = (chr(rng.choice((rng.randrange(0x3000), rng.randrange(0x110000)))) for _ in range(20))
    # Libraries know Unicode in different versions: whether a character that this Python does not
    # know yet is a letter, they may answer differently.
    return "".join(c for c in points if unicodedata.category(c) not in ("Cn", "Cs"))


@pytest.fixture(scope="session")
def random_texts() -> Callable[[int, int], list[str]]:
    """``random_texts(seed, count)``: English, Russian, emoji, HTML, digits, odd spaces and more."""

    def make(seed: int, count: int) -> list[str]:
        rng = random.Random(seed)
        return [_text(rng) for _ in range(count)]

    return make

"""The parsers of `bpe.model` (YouTokenToMe) and `.model` (SentencePiece): hand-made, damaged."""

from __future__ import annotations

import struct
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import WeightsError
from engine_plugins.tokenizers.settings import SentencePieceSettings, YouTokenToMeSettings
from engine_plugins.tokenizers.spm import SentencePiece
from engine_plugins.tokenizers.spm_model import Normalizer, parse_model
from engine_plugins.tokenizers.yttm import YouTokenToMe, parse_bpe_model

# ▁ к о т: ▁+к, о+т, ▁к+от; specials unk 1, pad 0, bos 2, eos 3.
BPE_MODEL = "4 3\n9601 4\n1082 5\n1086 6\n1090 7\n4 5 8\n6 7 9\n8 9 10\n1 0 2 3\n"


def yttm(tmp_path: Path, text: str = BPE_MODEL, **options: Any) -> YouTokenToMe:
    (tmp_path / "bpe.model").write_text(text, encoding="utf-8")
    settings = YouTokenToMeSettings(**{"from": f"file:{tmp_path}"}, **options)
    return YouTokenToMe.make(settings, list, 100)


def test_a_hand_made_bpe_model(tmp_path: Path) -> None:
    tokenizer = yttm(tmp_path)
    assert (tokenizer.pad_id, tokenizer.vocab_size) == (0, 11)
    cases = {
        "кот": [10],
        "КОТ": [10],
        "  кот\tкот\v": [10, 10],
        "▁кот▁": [10],
        "ток": [4, 7, 6, 5],
        "кит": [8, 1, 7],  # one unknown id for a run of them
        "кабвт": [8, 1, 7],
        "я кот": [4, 1, 10],
        "кот\u00a0кот": [10, 1, 5, 9],  # no white space to YouTokenToMe
        "": [],
        " \n ": [],
    }
    rows = tokenizer.encode(list(cases), 77)
    assert rows == [[2, *ids, 3] for ids in cases.values()]
    assert tokenizer.encode(["ток ток"], 5) == [[2, 4, 7, 6, 3]]
    assert yttm(tmp_path, lower=False).encode(["КОТ"], 9) == [[2, 4, 1, 3]]


def test_of_two_rules_for_one_spelling_the_one_that_applies_is_kept(tmp_path: Path) -> None:
    # a, b, c; rules: b+c -> 8, a+b -> 9, ab+c -> 10 (never: b+c is first), a+bc -> 11.
    text = "4 4\n9601 4\n97 5\n98 6\n99 7\n6 7 8\n5 6 9\n9 7 10\n5 8 11\n1 0 2 3\n"
    tokenizer = yttm(tmp_path, text)
    assert tokenizer.encode(["abc", "ab", "bc"], 9) == [[2, 4, 11, 3], [2, 4, 9, 3], [2, 4, 8, 3]]
    again = YouTokenToMe.from_bytes(tokenizer.settings, tokenizer.to_bytes())
    assert again.encode(["abc"], 9) == [[2, 4, 11, 3]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("4 3\n", "", "has 8 lines, but its line 1 promises"),
        ("4 3\n", "x\n", "line 1: expected the numbers of characters and of rules, found 'x'"),
        ("4 3\n", "-1 3\n", "line 1: a number of characters or rules is negative"),
        ("4 3\n", "4 2000000000\n", "has 9 lines, but its line 1 promises 2000000006"),
        ("1082 5\n", "1082\n", "line 3: expected a code point and an id, found '1082'"),
        ("1082 5\n", "55296 5\n", "line 3: 55296 is not a code point"),
        ("1082 5\n", "9601 5\n", "line 3: the character '▁' comes again"),
        ("1082 5\n", "1082 4\n", "line 3: the id 4 is taken"),
        ("1082 5\n", "1082 2\n", "line 3: the id 2 is taken"),
        ("1082 5\n", "1082 99999999\n", "line 3: the id 99999999 is taken or out of range"),
        ("9601 4\n", "9602 4\n", r"no line for the character U\+2581"),
        ("4 5 8\n", "4 5\n", "line 6: expected a rule of three ids, found '4 5'"),
        ("4 5 8\n", "4 99 8\n", "line 6: the rule joins an id that no line before it makes"),
        ("6 7 9\n", "6 7 8\n", "line 7: the id 8 is taken"),
        ("1 0 2 3\n", "1 0 2\n", "line 9: expected the ids of unknown"),
        ("1 0 2 3\n", "-1 0 2 3\n", "line 9: a special id is out of range"),
        ("1 0 2 3\n", "1 0 2 2\n", "line 9: two special tokens have one id"),
        ("1 0 2 3\n", "1 0 -1 3\n", "no begin or no end mark"),
        ("1 0 2 3\n", "", "has 8 lines, but its line 1 promises 9"),
    ],
)
def test_a_damaged_bpe_model_names_the_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        yttm(tmp_path, BPE_MODEL.replace(old, new, 1), otherwise="scratch")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789 -\nx", max_size=60))
def test_any_text_as_bpe_model_is_parsed_or_refused(text: str) -> None:
    refusal = None
    try:
        parse_bpe_model(text, "some.model")
    except WeightsError as error:
        refusal = error.message
    assert refusal is None or refusal.startswith("some.model")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float = 0.0, type_: int = 1) -> bytes:
    body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, body + field(3, type_))


def spm_file(*extra: bytes, trainer: bytes = b"", normalizer: bytes = b"") -> bytes:
    """Pieces <unk> <s> </s> ▁ко о т ▁ к ко, BPE."""
    words = ["▁ко", "о", "т", "▁", "к", "ко"]
    scores = [-1.0, -2.0, -3.0, -4.0, -5.0, -0.5]
    return b"".join(
        [
            piece("<unk>", type_=2), piece("<s>", type_=3), piece("</s>", type_=3),
            *map(piece, words, scores), *extra,
            field(2, field(3, 2) + trainer), field(3, normalizer),
        ]
    )  # fmt: skip


def spm(tmp_path: Path, data: bytes, **options: Any) -> SentencePiece:
    (tmp_path / "spm.model").write_bytes(data)
    settings = SentencePieceSettings(**{"from": f"file:{tmp_path}"}, **options)
    return SentencePiece.make(settings, list, 100)


def test_a_hand_made_sentencepiece_model(tmp_path: Path) -> None:
    tokenizer = spm(tmp_path, spm_file())
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode(["кот", "", "ток", "якяя", "<s>"], 9) == [
        [1, 3, 5, 2],
        [1, 2],
        [1, 6, 5, 4, 7, 2],
        [1, 6, 0, 7, 0, 2],
        [1, 6, 0, 2],
    ]
    without = spm(tmp_path, spm_file(trainer=field(41, -1)), marks=False)
    assert without.encode(["кот", ""], 9) == [[3, 5], [0]]
    with pytest.raises(WeightsError, match="marks: false"):
        spm(tmp_path, spm_file(trainer=field(41, -1)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 pieces"),
        (spm_file()[:-3], "it ends inside of a field"),
        (spm_file(piece("<unk>2", type_=2)), "2 of them for the unknown"),
        (spm_file(piece("ко")), "spelled alike"),
        (spm_file(piece("")), "a piece is empty"),
        (spm_file(piece("я", float("nan"))), "score is not a finite number"),
        (spm_file(piece("кя")), "holds 'я', which is not a piece itself"),
        (spm_file(piece("w", type_=4)), "with user-defined or unused pieces is not supported"),
        (spm_file(trainer=field(3, 3)), "with words or characters as pieces is not supported"),
        (spm_file(trainer=field(24, 1)), "with the space as a suffix is not supported"),
        (spm_file(trainer=field(42, 77)), "a special id is out of range"),
        (spm_file(normalizer=field(5, 0)), "with spaces that are not escaped is not supported"),
        (spm_file(normalizer=field(2, b"\xff\xff\xff\x7fxx")), "the character map is cut off"),
        (spm_file(field(1, 5)), "a number where a text belongs"),
        (b"\x0f\x00", "wire type 7"),
        (b"\xff" * 20, "a number that does not end"),
    ],
)
def test_a_damaged_sentencepiece_model_says_what_is_wrong(
    data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        spm(tmp_path, data, otherwise="scratch")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_as_sentencepiece_model_are_parsed_or_refused(junk: bytes, at: int) -> None:
    whole = spm_file()
    for data in (junk, whole[:at] + junk + whole[at:], whole[:at]):
        refusal = None
        try:
            parse_model(data, "some.model")
        except WeightsError as error:
            refusal = error.message
        assert refusal is None or refusal.startswith("some.model")


def test_the_character_map_takes_the_longest_match(tmp_path: Path) -> None:
    """SentencePiece's own normalizer, which is Unicode's NFKC but for the order of marks."""
    sentencepiece = pytest.importorskip("sentencepiece")
    train = sentencepiece.SentencePieceTrainer.train
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("кот и дом\n" * 50, encoding="utf-8")
    train(
        input=str(corpus), model_prefix=str(tmp_path / "m"), vocab_size=20, model_type="bpe",
        minloglevel=2, hard_vocab_limit=False, normalization_rule_name="nfkc",
    )  # fmt: skip
    model = parse_model((tmp_path / "m.model").read_bytes(), "m")
    normalize = Normalizer(model.charsmap, dummy_prefix=True, fold_spaces=True)
    original = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    for text in (
        "и\u0306",
        "е\u0308жик",
        "ｶﾞ",
        "①ﬁ",
        "cafe\u0301",
        "한국",
        "дом\u3000кот",
        "à\u0323",
    ):
        assert normalize(text) == original.normalize(text), text
        assert unicodedata.normalize("NFKC", normalize(text)[1:].replace("▁", " ")) == (
            unicodedata.normalize("NFKC", text)
        ), text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_character_map_are_read_or_refused(junk: bytes) -> None:
    for data in (junk, struct.pack("<I", 64) + junk):
        try:
            normalize = Normalizer(data, dummy_prefix=True, fold_spaces=True)
        except ValueError:
            continue
        normalize("кот и дом")

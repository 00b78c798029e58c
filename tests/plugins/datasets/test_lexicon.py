"""The lexicon: dictd's files and CLDR read as they are, bad ones refused with a reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from engine_plugins.datasets.cldr import read_annotations
from engine_plugins.datasets.dictd import Entry, read_dictd, translations
from engine_plugins.datasets.lexicon import Lexicon
from engine_plugins.datasets.settings import LexiconSettings

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def number(value: int) -> str:
    """As dictd's index has it."""
    found = ""
    while True:
        found = DIGITS[value % 64] + found
        value //= 64
        if not value:
            return found


def write(
    path: Path, entries: dict[str, str], *, packed: bool = True, encoding: str = "utf-8"
) -> Path:
    """A dictionary of dictd."""
    data, lines = b"", ["00databaseshort\tA\tA"]
    for headword, text in entries.items():
        body = f"{headword}\n{text}\n".encode(encoding)
        lines.append(f"{headword}\t{number(len(data))}\t{number(len(body))}")
        data += body
    if packed:
        path.with_name(f"{path.name}.dict.dz").write_bytes(gzip.compress(data))
    else:
        path.with_name(f"{path.name}.dict").write_bytes(data)
    index = "\n".join(lines) + "\n"
    path.with_name(f"{path.name}.index").write_text(index, encoding="utf-8")
    return path


CAT = """   _I  [kæt]
      1. _n.
         1) кот; кошка; tom cat кот
         2) _зоол. животное (из семейства кошачьих)
         3) _разг. сварливая женщина
      2. _v. бить плетью"""


@given(st.integers(0, 2**30))
def test_numbers_of_the_index(value: int) -> None:
    from engine_plugins.datasets.dictd import _number

    assert _number(number(value).encode(), Path("x"), 1) == value


@pytest.mark.parametrize("packed", [True, False])
def test_entries_in_order(tmp_path: Path, packed: bool) -> None:
    entries = {"cat": CAT, "naïve": "наивный", "dog": "собака"}
    found = list(read_dictd(write(tmp_path / "d", entries, packed=packed)))
    assert [entry.headword for entry in found] == list(entries)
    assert found[1].text == "naïve\nнаивный\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CAT, ["кот", "кошка", "животное", "сварливая женщина", "бить плетью"]),
        ("/læmp/\nлампа", ["лампа"]),
        ("[x] _n. _pl. ножницы (тж. a pair) scissors and paste компиляция", ["ножницы"]),
        ("1) краб 2) (C.) Рак (созвездие)", ["краб", "Рак"]),
        ("= other", []),
        ("", []),
        ("а" * 300, []),
    ],
)
def test_translations_of_an_entry(text: str, expected: list[str]) -> None:
    assert translations(Entry("word", f"word\n{text}"), latin=False) == expected


def test_translations_into_a_latin_script() -> None:
    entry = Entry("cat", "cat /kæt/\n1. Katze, Kater 2. Raupe (Fahrzeug)")
    assert translations(entry, latin=True) == ["Katze", "Kater", "Raupe"]


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    for latin in (True, False):
        found = translations(Entry("word", text), latin=latin)
        assert len(found) == len(set(found))
        assert all(one.strip() == one and one for one in found)


def test_rows_and_their_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "d", {"cat": "кот; кошка", "tomcat": "кот", "puss": "x; кошка"})
    settings = LexiconSettings(cldr=None, dictionaries=(path,), common=0.0, fade=1.0)
    lexicon = Lexicon(settings)
    rows = {lexicon.record(i).id: lexicon.record(i) for i in range(len(lexicon))}
    assert sorted(rows) == ["кот", "кошка"]
    assert rows["кот"].queries == ("кот", "cat", "tomcat")
    assert rows["кот"].languages == ("ru", "en", "en")
    assert dict(rows["кошка"].texts_in("en")) == {"cat": 0.5}
    common = Lexicon(settings.model_copy(update={"common": 1.0}))
    weights = {common.record(i).id: dict(common.record(i).texts_in("en")) for i in range(2)}
    assert weights["кот"] == {"cat": 2.0, "tomcat": 1.0}


def test_what_is_left_out_is_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry of a mebibyte, a headword of one, an empty one, a line of the index cut short."""
    long = "б" * (1 << 20)
    path = write(tmp_path / "d", {"cat": "кошка", "essay": long, long: "слово", " ": "пусто"})
    with path.with_name("d.index").open("a", encoding="utf-8") as file:
        file.write("dog\n" + "x" * (1 << 20) + "\n")
    lexicon = Lexicon(LexiconSettings(cldr=None, dictionaries=(path,)))
    assert [lexicon.record(i).queries for i in range(len(lexicon))] == [("кошка", "cat")]
    assert lexicon.left_out == {"overlong": 2, "malformed": 2, "empty": 1}
    said = " ".join(capsys.readouterr().err.split())
    assert "entries left out: 1 empty, 2 malformed, 2 overlong" in said


def test_a_phrase_with_different_translations_is_one_row(tmp_path: Path) -> None:
    """Of one dictionary and of two: every translation is kept once, with the larger weight."""
    first = write(tmp_path / "a", {"castle": "замок", "lock": "ключ; замок"})
    second = write(tmp_path / "b", {"castle": "дворец; замок", "padlock": "замок"})
    settings = LexiconSettings(cldr=None, dictionaries=(first, second), common=0.0, fade=1.0)
    lexicon = Lexicon(settings)
    rows = {lexicon.record(i).id: dict(lexicon.record(i).texts_in("en")) for i in range(3)}
    assert rows["замок"] == {"castle": 1.0, "lock": 0.5, "padlock": 1.0}


def test_cldr_comes_before_dictionaries_and_keywords_last(tmp_path: Path) -> None:
    for folder in ("annotations", "annotationsDerived"):
        (tmp_path / folder).mkdir()
        for language, name, words in (("ru", "кошка", "кот | хвост"), ("en", "cat", "pet | tail")):
            body = "" if folder == "annotationsDerived" else (
                f'<annotation cp="🐈">{words}</annotation>'
                f'<annotation cp="🐈" type="tts">{name}</annotation>')  # fmt: skip
            text = f"<ldml><annotations>{body}</annotations></ldml>"
            (tmp_path / folder / f"{language}.xml").write_text(text, encoding="utf-8")
    path = write(tmp_path / "d", {"puss": "кошка", "tomcat": "кот"})
    lexicon = Lexicon(LexiconSettings(cldr=tmp_path, dictionaries=(path,), cldr_weight=4))
    rows = [lexicon.record(i) for i in range(len(lexicon))]
    assert [(row.queries, row.weight) for row in rows] == [
        (("кот", "tomcat"), 1.0), (("кошка", "cat"), 4.0), (("хвост", "cat"), 4.0),
    ]  # fmt: skip
    assert lexicon.counts == {"cldr names": 1, "d": 1, "cldr keywords": 1}


def test_the_split_holds_phrases_out(tmp_path: Path) -> None:
    words = {f"word{i}": f"слово{chr(0x430 + i)}" for i in range(30)}
    path = write(tmp_path / "d", words)
    settings = LexiconSettings(cldr=None, dictionaries=(path,), held_out=0.3)
    train, test = Lexicon(settings), Lexicon(settings.model_copy(update={"split": "test"}))
    ids = [{one.record(i).id for i in range(len(one))} for one in (train, test)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(words.values())


def test_a_missing_file_names_its_package(tmp_path: Path) -> None:
    missing = tmp_path / "mueller7"
    with pytest.raises(DataError, match="mueller7") as caught:
        Lexicon(LexiconSettings(cldr=None, dictionaries=(missing,)))
    assert "mueller7-dict" in str(caught.value.hint)


def test_the_package_emoji_stands_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("emoji")
    settings = LexiconSettings(cldr=None, dictionaries=(tmp_path / "no",), otherwise="emoji")
    lexicon = Lexicon(settings)
    rows = {lexicon.record(i).id: lexicon.record(i).queries for i in range(len(lexicon))}
    assert "cat" in rows["кошка"]
    assert len(rows) > 2000
    assert "dict-no" in lexicon.note
    assert "dict-no" in capsys.readouterr().err.replace("\n", " ")


def break_gzip(path: Path) -> None:
    file = path.with_name("d.dict.dz")
    file.write_bytes(file.read_bytes()[:20])


def break_index(path: Path) -> None:
    path.with_name("d.index").write_text("cat\t!!\tB\n")


def break_offset(path: Path) -> None:
    path.with_name("d.index").write_text("cat\t////\tB\n")


def other_encoding(path: Path) -> None:
    write(path, {"cat": "кошка"}, encoding="cp1251")


def utf_16(path: Path) -> None:
    write(path, {"cat": "кошка"}, encoding="utf-16")


def other_index(path: Path) -> None:
    path.with_name("d.index").write_bytes("кот\tA\tB\n".encode("koi8-r"))


def no_text(path: Path) -> None:
    path.with_name("d.dict.dz").unlink()


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (break_gzip, "not a whole gzip file"),
        (break_index, "line 1.*not a number"),
        (break_offset, "beyond the dictionary"),
        (other_encoding, "not UTF-8.*at byte"),
        (utf_16, "not UTF-8"),
        (other_index, "index, line 1: not UTF-8"),
        (no_text, "is missing"),
    ],
)
def test_a_bad_dictionary_is_refused(tmp_path: Path, breaks: object, words: str) -> None:
    path = write(tmp_path / "d", {"cat": "кошка"})
    breaks(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=words):
        Lexicon(LexiconSettings(cldr=None, dictionaries=(path,)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("<ldml/>".encode("utf-16")[:-1], "is not XML", id="cut short"),
        pytest.param(
            '<?xml version="1.0" encoding="UTF-8"?><ldml>кот</ldml>'.encode("cp1251"),
            "is not XML",
            id="another encoding",
        ),
        pytest.param(None, "cannot be read", id="a folder"),
        pytest.param(65 << 20, "more than 64 MiB", id="too large"),
    ],
)
def test_a_bad_file_of_cldr_is_refused(
    tmp_path: Path, content: bytes | int | None, words: str
) -> None:
    path = tmp_path / "ru.xml"
    if content is None:
        path.mkdir()
    elif isinstance(content, int):
        with path.open("wb") as file:
            file.truncate(content)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_annotations(path)

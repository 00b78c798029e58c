"""Bad material for teaching, as a user meets it: a clear error with exit code 2, or counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

Engine = Callable[..., tuple[int, str, str]]

PARTS = """\
engine: 1
name: student
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text: {use: bag_of_ngrams, vocab_size: 64, width: 8, out_width: 16, tokenizer: {use: char_ngrams}}
  projection: {vision: {use: linear}, text: {use: identity}}
"""
CONFIG = f"""\
{PARTS}
data:
  train: TRAIN
train:
  threads: 1
  device: cpu
  languages: [ru]
  teachers:
    one: {{use: artifact, path: teacher, language: en}}
  stages:
    - name: texts
      trains: {{text: true, vision_projection: false, text_projection: false, logit_scale: false}}
      losses: [{{use: distill, teacher: one}}]
      steps: 2
      batch_size: 4
"""
PAIRS = [("кошка", "cat"), ("собака", "dog"), ("дом", "house"), ("лес", "forest"), ("сад", "yard"),
         ("стол", "table"), ("стул", "chair"), ("рыба", "fish")]  # fmt: skip


@pytest.fixture
def check(engine: Engine, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """`engine check` of the student with some training data and a teacher of some width."""

    def call(train: str, width: int = 16) -> tuple[int, str, str]:
        own = PARTS.replace("embed_dim: 16", f"embed_dim: {width}").replace(
            "out_width: 16", f"out_width: {width}"
        )
        (tmp_path / "teacher.yaml").write_text(own, encoding="utf-8")
        code, _, err = engine("build", "teacher.yaml", "-o", "teacher")
        assert code == 0, err
        (tmp_path / "student.yaml").write_text(CONFIG.replace("TRAIN", train), encoding="utf-8")
        return engine("check", "student.yaml")

    return call


def tsv(rows: list[tuple[str, str]], encoding: str = "utf-8") -> bytes:
    return "".join(f"{a}\t{b}\n" for a, b in rows).encode(encoding)


def test_bad_rows_are_counted(check: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Empty sides, a line of a mebibyte, one text with two targets: said, and training starts."""
    bad = [("", "nothing"), ("пусто", ""), ("я" * (1 << 19), "long"), ("кошка", "puss"), PAIRS[0]]
    (tmp_path / "x.tsv").write_bytes(tsv([*PAIRS, *bad]))
    code, out, err = check("{use: parallel_texts, path: x.tsv}")
    assert code == 0, err
    assert "training would start" in out
    said = " ".join(err.split())
    for words in ("2 rows with an empty text left out", "1 rows with an overlong line left out",
                  "1 repeated rows left out", "1 texts have different translations"):  # fmt: skip
        assert words in said


def unaligned(folder: Path) -> str:
    for language, count in (("ru", 8), ("en", 7)):
        lines = "".join(f"{pair[language == 'en']}\n" for pair in PAIRS[:count])
        (folder / f"corpus.{language}").write_text(lines, encoding="utf-8")
    return "{use: parallel_texts, path: corpus}"


def empty_sides(folder: Path) -> str:
    (folder / "x.tsv").write_bytes(tsv([(a, "") for a, _ in PAIRS]))
    return "{use: parallel_texts, path: x.tsv}"


def mebibytes(folder: Path) -> str:
    (folder / "x.tsv").write_bytes(tsv([("я" * (1 << 19), b) for _, b in PAIRS]))
    return "{use: parallel_texts, path: x.tsv}"


def other_encoding(folder: Path) -> str:
    (folder / "x.tsv").write_bytes(tsv(PAIRS, "cp1251"))
    return "{use: parallel_texts, path: x.tsv}"


def dictionary(folder: Path) -> str:
    entries = [f"{b}\n{a}\n".encode("koi8-r") for a, b in PAIRS]
    (folder / "d.dict").write_bytes(b"".join(entries))
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    places = [sum(map(len, entries[:i])) for i in range(len(entries))]
    lines = (
        f"{b}\t{digits[start // 64]}{digits[start % 64]}\t{digits[len(entry)]}\n"
        for (_, b), start, entry in zip(PAIRS, places, entries, strict=True)
    )
    (folder / "d.index").write_text("".join(lines))
    return "{use: lexicon, cldr: null, dictionaries: [d]}"


def no_names(folder: Path) -> str:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=7)
    save_file(model.state_dict(), folder / "weights.safetensors")
    tower = "{use: timm, arch: test_vit, weights: {from: 'file:weights.safetensors'}}"
    return f"{{use: classifier_head, tower: {tower}}}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unaligned, "corpus.en has fewer lines than corpus.ru"),
        (empty_sides, "0 of 8 rows can be used (8 rows with an empty text left out)"),
        (mebibytes, "0 of 8 rows can be used (8 rows with an overlong line left out)"),
        (other_encoding, "x.tsv, line 1: not UTF-8"),
        (dictionary, "d, entry of line 1: not UTF-8"),
        (no_names, "timm has no names for a head of 7 classes"),
    ],
)
def test_bad_data_are_refused(
    make: Callable[[Path], str],
    words: str,
    check: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    code, _, err = check(make(tmp_path))
    assert code == 2
    assert words in " ".join(err.split())
    assert "student.yaml:" in err  # the place in the config


def test_a_teacher_of_another_width_is_refused(
    check: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "x.tsv").write_bytes(tsv(PAIRS))
    code, _, err = check("{use: parallel_texts, path: x.tsv}", width=12)
    assert code == 2
    assert "16 wide, with `teacher.one.text`, 12 wide" in " ".join(err.split())
    assert "map: [16, 12]" in err

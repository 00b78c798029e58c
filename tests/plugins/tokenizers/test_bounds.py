"""Vocabularies made to do harm: refused in a moment, in one line. Real ones keep every bound."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from engine.errors import ArtifactError, EngineError, WeightsError
from engine_plugins.tokenizers.backend import parse_backend
from engine_plugins.tokenizers.base import fill_holes, read_bytes
from engine_plugins.tokenizers.bounds import check_steps
from engine_plugins.tokenizers.bpe import Gpt2Bpe
from engine_plugins.tokenizers.settings import (
    Gpt2BpeSettings,
    SentencePieceSettings,
    TrainedSettings,
    YouTokenToMeSettings,
)
from engine_plugins.tokenizers.spm import SentencePiece
from engine_plugins.tokenizers.trained import Trained
from engine_plugins.tokenizers.yttm import YouTokenToMe

N = normalizers
DOUBLE = N.Replace("a", "aa")


def backend(normalizer: Any = None, splitter: Any = None, model: Any = None) -> Tokenizer:
    made = Tokenizer(model or models.BPE({"a": 0, "<s>": 1, "</s>": 2, "<pad>": 3}, []))
    if normalizer is not None:
        made.normalizer = normalizer
    if splitter is not None:
        made.pre_tokenizer = splitter
    return made


def nested(depth: int) -> Any:
    step: Any = DOUBLE
    for _ in range(depth):
        step = N.Sequence([step, step])
    return step


HOSTILE: dict[str, Tokenizer] = {
    "doubling": backend(N.Sequence([DOUBLE] * 60)),
    "doubling a few times": backend(N.Sequence([DOUBLE] * 7)),
    "doubling inside of sequences": backend(nested(3)),
    "one long replacement": backend(N.Replace("a", "a" * 1000)),
    "a long replacement of a pattern": backend(N.Replace(Regex("a"), "a" * 1000)),
    "insertion": backend(N.Sequence([N.Replace(Regex("(?=a)"), "bbbbbbb")] * 3)),
    "insertion at empty matches": backend(N.Sequence([N.Replace(Regex("x*"), "bbbbbbb")] * 3)),
    "many prefixes": backend(N.Sequence([N.Prepend("abcd")] * 20)),
    "a long prefix": backend(N.Prepend("a" * 10_000)),
    "bytes of bytes": backend(N.Sequence([N.ByteLevel()] * 10)),
    "many steps": backend(N.Sequence([N.NFC()] * 100)),
    "many splitters": backend(splitter=pre_tokenizers.Sequence([pre_tokenizers.Digits()] * 100)),
    "words without end": backend(
        model=models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]",
                               max_input_chars_per_word=1_000_000_000)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tokenizer_json_that_grows_without_measure_is_refused(tmp_path: Path, kind: str) -> None:
    text = HOSTILE[kind].to_str()
    with pytest.raises(ValueError, match=r"steps|words of|times longer"):
        parse_backend(text)
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    settings = Gpt2BpeSettings(**{"from": f"file:{tmp_path}"})
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        Gpt2Bpe.make(settings, list, 100)

    made = Trained.make(TrainedSettings(), lambda: ["кот и пёс", "кот"], 50)
    document = json.loads(made.to_bytes())
    document["tokenizers"] = json.loads(text)
    with pytest.raises(ArtifactError, match="build the artifact again"):
        Trained.from_bytes(TrainedSettings(), json.dumps(document).encode())


REAL: dict[str, Tokenizer] = {
    "none": backend(),
    "bert": backend(N.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
    "clip": backend(
        N.Sequence([N.NFC(), N.Replace(Regex(r"\s+"), " "), N.Lowercase()]),
        pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"'s|'t|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]),
    ),
    "albert": backend(
        N.Sequence([N.Replace("``", '"'), N.Replace("''", '"'), N.NFKD(), N.StripAccents(),
                    N.Lowercase(), N.Replace(Regex(" {2,}"), " ")]),
        pre_tokenizers.Metaspace(),
    ),
    "llama": backend(N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])),
    "gemma": backend(N.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
    "byte level": backend(N.Sequence([N.NFKC(), N.ByteLevel()])),
    "punctuation apart": backend(
        N.Sequence([N.Replace(mark, f" {mark} ") for mark in ".,"])
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REAL)
def test_the_steps_of_real_vocabularies_are_allowed(kind: str) -> None:
    assert parse_backend(REAL[kind].to_str()).to_str() == REAL[kind].to_str()


@pytest.mark.parametrize(
    "document",
    [
        None, [], 3, {"normalizer": 3}, {"normalizer": [1]}, {"normalizer": {"normalizers": [3]}},
        {"normalizer": {"type": "Replace"}},
        {"normalizer": {"type": "Replace", "content": 3, "pattern": {"String": "a"}}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "???"}},
    ],
)  # fmt: skip
def test_steps_of_other_types_are_refused(document: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_steps(document)


def test_json_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        Gpt2Bpe.make(Gpt2BpeSettings(**{"from": f"file:{tmp_path}"}), list, 100)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$"])
def test_a_pattern_that_cannot_be_matched_in_time_is_an_error_of_ours(pattern: str) -> None:
    made = Trained.make(TrainedSettings(), lambda: ["кот и пёс", "кот"], 50)
    document = json.loads(made.to_bytes())
    document["tokenizers"]["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False
    }  # fmt: skip
    again = Trained.from_bytes(TrainedSettings(), json.dumps(document).encode())
    with pytest.raises(WeightsError, match="fails on a text"):
        again.encode(["a" * 3000 + "b"], 12)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("begin", [3] * 1000), ("begin", "12"), ("begin", [-1]), ("begin", [2**70]),
        ("end", [True]), ("end", {"a": 1}), ("pad", 1.5), ("pad", 10**9), ("unknown", "x"),
        ("origin", "\ud800"), ("origin", "x" * 100_000), ("origin", 3), ("origin", None),
        ("kind", ["x" * 100_000]), ("engine_tokenizer", 10**30), ("extra", 3), ("extra", None),
        ("tokenizers", None), ("tokenizers", []), ("tokenizers", {}),
    ],
)  # fmt: skip
def test_an_artifacts_tokenizer_with_other_values_is_refused(key: str, value: object) -> None:
    made = Trained.make(TrainedSettings(), lambda: ["кот и пёс", "кот"], 50)
    document = {**json.loads(made.to_bytes()), key: value}
    with pytest.raises(ArtifactError) as caught:
        Trained.from_bytes(TrainedSettings(), json.dumps(document).encode())
    assert len(str(caught.value)) < 500


# --- ids and sizes ---------------------------------------------------------------------------


def test_a_vocabulary_of_holes_is_refused() -> None:
    assert len(fill_holes({"a": 0, "b": 900})) == 901
    for last in (1009, 9_999_999, 2**62):
        with pytest.raises(WeightsError, match="a vocabulary of 2 tokens"):
            fill_holes({"a": 0, "b": last})


def test_a_file_that_is_not_a_vocabulary_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_plugins.tokenizers.base.MAX_BYTES", 1000)
    (tmp_path / "vocab.json").write_bytes(bytes(1001))
    with pytest.raises(WeightsError, match="more than 1,000 bytes"):
        read_bytes(tmp_path / "vocab.json")


# --- YouTokenToMe ----------------------------------------------------------------------------


def yttm(tmp_path: Path, text: str) -> YouTokenToMe:
    (tmp_path / "bpe.model").write_text(text, encoding="utf-8")
    return YouTokenToMe.make(YouTokenToMeSettings(**{"from": f"file:{tmp_path}"}), list, 10**6)


def rules(count: int, left: Callable[[int], int], right: Callable[[int], int]) -> str:
    """A model of ▁, a, b and rules; the rule i makes the id 7 + i."""
    lines = [f"{left(i)} {right(i)} {7 + i}" for i in range(count)]
    return "\n".join(["3 " + str(count), "9601 4", "97 5", "98 6", *lines, "1 0 2 3", ""])


def before(i: int) -> int:
    """The id of the rule before, or of `a`."""
    return 6 + i if i else 5


@pytest.mark.parametrize(
    "text",
    [
        rules(60, before, before),  # 2^60 characters
        rules(20, before, before),
        rules(3000, before, lambda i: 5),
    ],
    ids=["2^60", "2^20", "one by one"],
)
def test_rules_that_spell_without_measure_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(WeightsError, match="rules spell pieces of"):
        yttm(tmp_path, text)


def test_many_rules_of_one_long_spelling_are_refused(tmp_path: Path) -> None:
    """999 letters one by one; then the longest twenty again, from their first letter on."""
    chain = 998
    left = lambda i: before(i) if i < chain else 5  # noqa: E731
    right = lambda i: 5 if i < chain else 6 + chain - 1 - (i - chain)  # noqa: E731
    text = rules(chain + 20, left, right)
    with pytest.raises(WeightsError, match="spell the same long pieces"):
        yttm(tmp_path, text)


def test_long_pieces_of_a_real_vocabulary_are_read(tmp_path: Path) -> None:
    text = rules(200, before, lambda i: 5)
    assert yttm(tmp_path, text).vocab_size == 207


# --- SentencePiece ---------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float, type_: int = 1) -> bytes:
    body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, body + field(3, type_))


def spm(tmp_path: Path, pieces: list[bytes], charsmap: bytes = b"", kind: int = 2) -> SentencePiece:
    marks = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3)]
    data = b"".join([*marks, *pieces, field(2, field(3, kind)), field(3, field(2, charsmap))])
    (tmp_path / "spm.model").write_bytes(data)
    settings = SentencePieceSettings(**{"from": f"file:{tmp_path}"})
    return SentencePiece.make(settings, list, 10**6)


LETTERS = [piece(letter, -float(i)) for i, letter in enumerate("▁ab")]


@pytest.mark.parametrize("length", [257, 5000, 1_000_000])
@pytest.mark.parametrize("kind", [1, 2])
def test_a_very_long_piece_is_refused(tmp_path: Path, length: int, kind: int) -> None:
    with pytest.raises(WeightsError, match="very long"):
        spm(tmp_path, [*LETTERS, piece("a" * length, -9.0)], kind=kind)


def test_very_many_long_pieces_are_refused(tmp_path: Path) -> None:
    chance = random.Random(0)
    pieces = {"".join(chance.choices("ab", k=250)) for _ in range(1000)}
    with pytest.raises(WeightsError, match="too many and too long"):
        spm(tmp_path, [*LETTERS, *(piece(text, -9.0) for text in sorted(pieces))])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused(tmp_path: Path, score: float) -> None:
    with pytest.raises(WeightsError, match="not a finite number"):
        spm(tmp_path, [*LETTERS, piece("ab", score)])


def shared_trie(levels: int, replacement: int) -> bytes:
    """A character map whose nodes share their children: 2^levels keys in some hundred units."""
    units = [0] * (256 * (levels + 2))
    base = [256 * (level + 1) for level in range(levels + 1)]
    units[0] = base[0] << 10
    for level in range(levels):
        for label in (0x61, 0x62):
            place = base[level] ^ label
            last = level == levels - 1
            units[place] = (place ^ base[level + 1]) << 10 | (1 << 8 if last else 0) | label
    units[base[levels]] = 1 << 31
    data = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(data)) + data + b"x" * replacement + b"\0"


@pytest.mark.parametrize(("levels", "replacement"), [(60, 3), (25, 3), (5, 100_000), (5, 200)])
def test_a_character_map_without_measure_is_refused(
    tmp_path: Path, levels: int, replacement: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_plugins.tokenizers.spm_model._MAX_KEYS", 20_000)  # faster
    with pytest.raises(EngineError, match="map"):
        spm(tmp_path, LETTERS, shared_trie(levels, replacement))
    made = Trained.make(TrainedSettings(), lambda: ["кот и пёс", "кот"], 50)
    document = json.loads(made.to_bytes())
    charsmap = base64.b64encode(shared_trie(levels, replacement)).decode()
    document["tokenizers"]["normalizer"] = {
        "type": "Precompiled", "precompiled_charsmap": charsmap
    }  # fmt: skip
    with pytest.raises(ArtifactError, match="map"):
        Trained.from_bytes(TrainedSettings(), json.dumps(document).encode())


def test_a_small_character_map_is_read(tmp_path: Path) -> None:
    made = spm(tmp_path, LETTERS, shared_trie(3, 1))
    assert made.prepare("abb b") == "▁x▁b"

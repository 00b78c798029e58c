"""What every built-in tokenizer promises: marks, lengths, bytes, training, sources, bad input."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.contracts import TokenizerSettings
from engine.core.sources import UnreachableError
from engine.errors import ArtifactError, ConfigError, DataError, WeightsError
from engine_plugins import engine_plugins

PLUGINS = {
    plugin.name: plugin
    for plugin in engine_plugins()
    # Without a vocabulary; with one that is never learned (test_hub.py tries it).
    if plugin.kind == "tokenizer" and plugin.name not in ("char_ngrams", "tokenizer_json")
}
TEXTS = [
    "красный кот на белом диване", "Белый кот", "чёрная собака", "", "собака и кот", "кот, собака!",
    "дом у моря", "красный дом", "белый дом и чёрный кот", "море 2021", "красный кот", "а",
]  # fmt: skip
SIZE = 700


def make(name: str, texts: Iterable[str] = TEXTS, size: int = SIZE, **options: Any) -> Any:
    plugin = PLUGINS[name]
    own = plugin.load_settings().model_validate({"from": "scratch", **options})
    return plugin.load().make(own, lambda: texts, size)


every = pytest.mark.parametrize("name", sorted(PLUGINS))


@every
def test_trained_on_the_queries_it_says_so_and_keeps_within_its_size(name: str) -> None:
    tokenizer = make(name)
    assert tokenizer.origin == "trained on 12 queries"
    assert tokenizer.vocab_size <= SIZE
    rows = tokenizer.encode(TEXTS, 20)
    assert all(0 <= i < tokenizer.vocab_size for row in rows for i in row)
    cat, unseen = tokenizer.encode(["красный кот", "щщщщ"], 20)
    assert len(cat) < len("красный кот"), "nothing was joined"
    assert cat != unseen


@every
def test_marks_stand_at_both_ends_of_any_text(name: str) -> None:
    tokenizer = make(name)
    *begin, end = tokenizer.encode([""], 2)[0]  # T5 and its kin have a mark at the end alone
    assert len(begin) <= 1
    assert end not in begin
    assert bool(begin) != (name in ("t5", "gemma", "siglip"))
    long = "красный кот на белом диване " * 50
    for limit in (2, 3, 7, 77):
        for row in tokenizer.encode([long, "кот", "", " \t\n"], limit):
            assert (row[: len(begin)], row[-1]) == (begin, end)
            assert len(begin) < len(row) <= limit
            assert not set(begin) & set(row[1:])
            assert end not in row[:-1]
    whole = tokenizer.encode([long], 1000)[0]
    assert tokenizer.encode([long], 9)[0] == [*whole[:8], end]
    assert tokenizer.encode([long], 1) == [[end]]
    with pytest.raises(ValueError, match="max_tokens is 0"):
        tokenizer.encode(["кот"], 0)


@every
def test_a_text_cannot_spell_a_mark(name: str) -> None:
    tokenizer = make(name)
    *begin, end = tokenizer.encode([""], 2)[0]
    marks = (
        "<s> </s> <pad> <unk> <mask> [CLS] [SEP] [PAD] [UNK] <start_of_text> <end_of_text>"
        " <BOS> <EOS> <PAD> <UNK>"
    )
    for texts in (TEXTS, [marks] * 5):  # the second: even where they are words of the queries
        tokenizer = make(name, texts)
        for text in (marks, *marks.split()):
            row = tokenizer.encode([text, " " + text], 500)[0]
            assert not set(begin) & set(row[1:])
            assert end not in row[:-1]
            # CLIP pads with a letter, SentencePiece with the unknown, SigLIP with its end mark.
            inside = row[:-1] if tokenizer.pad_id == end else row
            assert tokenizer.pad_id not in inside or name in ("clip_bpe", "sentencepiece")


@every
def test_bytes_restore_it(name: str, random_texts: Callable[[int, int], list[str]]) -> None:
    tokenizer = make(name)
    data = tokenizer.to_bytes()
    json.loads(data.decode())
    again = type(tokenizer).from_bytes(tokenizer.settings, data)
    assert again.to_bytes() == data
    for attribute in ("origin", "pad_id", "vocab_size"):
        assert getattr(again, attribute) == getattr(tokenizer, attribute)
    texts = random_texts(10, 500)
    assert again.encode(texts, 30) == tokenizer.encode(texts, 30)


@every
def test_a_text_gives_the_same_ids_in_any_batch(
    name: str, random_texts: Callable[[int, int], list[str]]
) -> None:
    tokenizer = make(name)
    texts = [*random_texts(11, 300), "a\ud800b", "\udfff", "\ud83d\ude00", "кот" * 3000]
    rows = tokenizer.encode(texts, 25)
    assert [tokenizer.encode([text], 25)[0] for text in texts] == rows
    assert tokenizer.encode(texts[::-1], 25) == rows[::-1]
    assert tokenizer.encode(["\ud83d\ude00"], 25) == tokenizer.encode(["😀"], 25)
    assert tokenizer.encode([], 25) == []


@every
def test_the_vocabulary_depends_on_the_texts_alone(name: str) -> None:
    """Not on their order, nor on the process (hashes differ in each)."""
    data = make(name).to_bytes()
    assert make(name, TEXTS[::-1]).to_bytes() == data
    assert make(name, [*TEXTS, "жираф", "жираф"]).to_bytes() != data
    code = (
        "import hashlib, json, sys\n"
        "from engine_plugins import engine_plugins\n"
        "plugins = {p.name: p for p in engine_plugins() if p.kind == 'tokenizer'}\n"
        f"plugin = plugins[{name!r}]\n"
        "own = plugin.load_settings().model_validate({'from': 'scratch'})\n"
        "texts = json.load(sys.stdin)\n"
        f"made = plugin.load().make(own, lambda: texts, {SIZE})\n"
        "print(hashlib.sha256(made.to_bytes()).hexdigest())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "2"}, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == hashlib.sha256(data).hexdigest()


@every
@pytest.mark.parametrize("texts", [[], [""], ["", "  \t\n"]])
def test_nothing_to_learn_from_is_an_error(name: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match=f"{len(texts)} texts, and no word"):
        make(name, texts)


@every
def test_the_error_of_a_config_without_data_comes_through(name: str) -> None:
    plugin = PLUGINS[name]

    def texts() -> Iterable[str]:
        raise DataError("data.train is not set")

    with pytest.raises(DataError, match=r"data\.train is not set"):
        plugin.load().make(plugin.load_settings().model_validate({"from": "scratch"}), texts, SIZE)


@every
def test_too_small_a_size_is_a_mistake_of_the_config(name: str) -> None:
    with pytest.raises(ConfigError, match=f"vocab_size 3 is too small to train a `{name}`"):
        make(name, size=3)
    options = {"byte_level": True} if name == "trained" else {}
    for size in (600, 650, 701):
        assert make(name, size=size, **options).vocab_size <= size


@every
def test_an_absent_source_is_an_error_or_scratch_as_the_config_says(
    name: str, tmp_path: Path
) -> None:
    source = f"file:{tmp_path / 'absent'}"
    with pytest.raises(WeightsError, match="no such file or folder"):
        make(name, **{"from": source})
    tokenizer = make(name, **{"from": source}, otherwise="scratch")
    assert tokenizer.origin.startswith(f"trained on 12 queries; {source} was not reachable")
    assert tokenizer.encode(TEXTS, 9) == make(name).encode(TEXTS, 9)


@every
def test_a_broken_source_never_falls_back_to_scratch(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is there, but has none of the files wanted"):
        make(name, **{"from": f"file:{tmp_path}"}, otherwise="scratch")
    names = (
        "vocab.json", "merges.txt", "tokenizer.json", "vocab.txt", "bpe.model", "spm.model",
        "bpe_simple_vocab_16e6.txt.gz",
    )  # fmt: skip
    for junk in (b"", b"\xff\xfe\x00junk", b"{}", b"[1]", b"a b c\nd e f\n"):
        for file in names:
            (tmp_path / file).write_bytes(junk)
        with pytest.raises(WeightsError):
            make(name, **{"from": f"file:{tmp_path}"}, otherwise="scratch")


@every
def test_an_artifacts_tokenizer_can_be_taken_over(name: str, tmp_path: Path) -> None:
    first = make(name)
    (tmp_path / "tokenizer.json").write_bytes(first.to_bytes())
    second = make(name, texts=[], **{"from": f"artifact:{tmp_path}"})
    assert second.origin == f"artifact:{tmp_path} (trained on 12 queries)"
    assert second.encode(TEXTS, 9) == first.encode(TEXTS, 9)
    other = "trained" if name != "trained" else "wordpiece"
    with pytest.raises(WeightsError, match=f"a tokenizer of the kind `{name}`"):
        make(other, **{"from": f"artifact:{tmp_path}"}, otherwise="scratch")
    with pytest.raises(WeightsError, match=f"has rows for {first.vocab_size - 1}"):
        make(name, size=first.vocab_size - 1, **{"from": f"artifact:{tmp_path}"})


@every
def test_damaged_bytes_are_an_artifact_error(name: str) -> None:
    tokenizer = make(name)
    document = json.loads(tokenizer.to_bytes())
    damaged: list[bytes] = [b"", b"{}", b"[]", b"null", b"\xff", tokenizer.to_bytes()[:-20]]
    for key in document:
        for value in (None, -1, "x", [None], {"a": 1}, 1.5, 10**12):
            if key == "origin" or (key, value) == ("unknown", None):
                continue
            damaged.append(json.dumps({**document, key: value}).encode())
        damaged.append(json.dumps({k: v for k, v in document.items() if k != key}).encode())
    accepted = []
    for data in damaged:
        try:
            accepted.append((data, type(tokenizer).from_bytes(tokenizer.settings, data)))
        except ArtifactError:
            continue
    # `extra` means something to SentencePiece alone.
    assert all(name != "sentencepiece" and b'"extra": {"a"' in data for data, _ in accepted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5), st.integers(1, 12))
def test_any_text_has_at_least_one_and_at_most_the_tokens_asked(
    texts: list[str], limit: int
) -> None:
    for name in PLUGINS:
        tokenizer = _made(name)
        rows = tokenizer.encode(texts, limit)
        assert len(rows) == len(texts)
        assert all(1 <= len(row) <= limit for row in rows)
        assert all(0 <= i < tokenizer.vocab_size for row in rows for i in row)


_MADE: dict[str, Any] = {}


def _made(name: str) -> Any:
    if name not in _MADE:
        _MADE[name] = make(name)
    return _MADE[name]


def test_without_marks_a_text_is_its_ids_and_the_empty_one_is_unknown() -> None:
    for name in ("trained", "sentencepiece"):
        marked, bare = make(name), make(name, marks=False)
        ids = marked.encode(["красный кот"], 20)[0][1:-1]
        assert bare.encode(["красный кот"], 20) == [ids]
        unknown = bare.encode(["☃"], 20)[0][-1]
        assert bare.encode(["", "  "], 20) == [[unknown], [unknown]]


def test_trained_lower_and_byte_level() -> None:
    assert make("trained").encode(["КОТ"], 9) == make("trained").encode(["кот"], 9)
    kept = make("trained", lower=False)
    assert kept.encode(["КОТ"], 9) != kept.encode(["кот"], 9)
    unknown = make("trained").encode(["☃"], 9)[0][-2]
    by_bytes = make("trained", byte_level=True)
    assert unknown not in by_bytes.encode(["☃ snow"], 50)[0]
    assert by_bytes.encode(["☃"], 50) != by_bytes.encode(["☂"], 50)


def test_trained_takes_no_foreign_source(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="learns from the queries"):
        PLUGINS["trained"].load_settings().model_validate({"from": "hf:a/b"})
    path = tmp_path / "mine.json"
    path.write_bytes(make("trained").to_bytes())
    assert make("trained", [], **{"from": f"file:{path}"}).encode(TEXTS, 9) == make(
        "trained"
    ).encode(TEXTS, 9)


@pytest.mark.parametrize("name", ["../x.model", "a/b", "..", "", "a\\b"])
def test_a_file_setting_is_a_plain_name(name: str) -> None:
    for plugin in ("sentencepiece", "youtokentome"):
        with pytest.raises(ValidationError):
            PLUGINS[plugin].load_settings().model_validate({"file": name})


def test_gpt2_marks_that_the_vocabulary_lacks(tmp_path: Path) -> None:
    model = json.loads(make("gpt2_bpe").to_bytes())["tokenizers"]["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(map(" ".join, model["merges"])))
    with pytest.raises(WeightsError, match=r"does not have <\|endoftext\|>"):
        make("gpt2_bpe", **{"from": f"file:{tmp_path}"}, eos="<|endoftext|>")
    (tmp_path / "added_tokens.json").write_text('{"<|endoftext|>": 699}')
    tokenizer = make("gpt2_bpe", **{"from": f"file:{tmp_path}"}, eos="<|endoftext|>")
    assert tokenizer.encode([""], 5) == [[1, 699]]
    assert tokenizer.vocab_size == 700
    (tmp_path / "merges.txt").write_text("#version: 0.2\nа б\nнеправильно\n", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"merges\.txt, line 3: expected two tokens"):
        make("gpt2_bpe", **{"from": f"file:{tmp_path}"}, otherwise="scratch")
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(WeightsError, match=r"expected `vocab.json` and `merges.txt`"):
        make("gpt2_bpe", **{"from": f"file:{tmp_path}"}, otherwise="scratch")


def test_a_vocabulary_with_an_absurd_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "</s>": 1, "<pad>": 4000000000}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(WeightsError, match="4000000000 is not a token id"):
        make("gpt2_bpe", **{"from": f"file:{tmp_path}"})


def test_clip_merges_from_a_file(tmp_path: Path) -> None:
    """Uncompressed as the hub has it, or compressed; a bomb is not unpacked."""
    text = "#version: 0.2\nc a\nca t</w>\n"
    (tmp_path / "merges.txt").write_text(text)
    tokenizer = make("clip_bpe", [], **{"from": f"file:{tmp_path}"})
    assert tokenizer.encode(["Cat"], 9) == [[514, 513, 515]]
    packed = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    again = make("clip_bpe", [], **{"from": f"file:{tmp_path}"})
    assert again.encode(["Cat"], 9) == [[514, 513, 515]]
    packed.write_bytes(gzip.compress(bytes(65 * 2**20)))
    with pytest.raises(WeightsError, match="unpacks to more than"):
        make("clip_bpe", [], **{"from": f"file:{tmp_path}"}, otherwise="scratch")


def test_clip_without_open_clip_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install open_clip_torch"):
        make("clip_bpe", **{"from": "open_clip:x"})
    tokenizer = make("clip_bpe", **{"from": "open_clip:x"}, otherwise="scratch")
    assert "open_clip:x was not reachable" in tokenizer.origin


def test_no_tokenizer_imports_torch() -> None:
    code = (
        "import sys\n"
        "from engine_plugins import engine_plugins\n"
        "for plugin in engine_plugins():\n"
        "    if plugin.kind == 'tokenizer':\n"
        "        plugin.load_settings()\n"
        "        target = plugin.load()\n"
        "        if plugin.name == 'clip_bpe':\n"
        "            target.make(plugin.load_settings()(), list, 49408).encode(['cat'], 77)\n"
        "print({'torch', 'open_clip', 'transformers'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "set()"


def test_settings_derive_from_the_contract() -> None:
    assert len(PLUGINS) > 6
    for plugin in PLUGINS.values():
        assert issubclass(plugin.load_settings(), TokenizerSettings)
        assert plugin.load().name == plugin.name


@pytest.mark.parametrize("held", ["vocab.json", "merges.txt"])
def test_half_of_a_vocabulary_in_the_cache_is_answered_by_otherwise(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    (tmp_path / held).write_text("{}")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, name, **_: str(tmp_path / name) if name == held else None,
    )
    source = {"from": "hf:owner/name"}
    with pytest.raises(UnreachableError, match=f"{held} alone"):
        make("gpt2_bpe", **source)
    tokenizer = make("gpt2_bpe", **source, otherwise="scratch")
    assert tokenizer.origin.startswith("trained on")
    assert "hf:owner/name was not reachable" in tokenizer.origin

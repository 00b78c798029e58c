"""What lies beside a vocabulary: lower case, accents, spaces, marks, lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertTokenizer, GPT2Tokenizer

from engine.core.build import make_tokenizer, tokenizer_warnings
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.errors import WeightsError
from engine_plugins.tokenizers.bpe import byte_characters

TEXTS = ["Ёлка и Й", "naïve Café", "красный 中文 дом", "a b", ""]
BERT_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"aefivnabcdйиёеЁЙлкарсныйомд中文",
                   *(f"##{c}" for c in "aefivncdйёелкарсныйомди")]  # fmt: skip


def config(tokenizer: dict[str, Any], max_tokens: int = 16) -> EngineConfig:
    model = {
        "embed_dim": 8,
        "vision": {"use": "small_vit", "image_size": 16, "convolutions": 2, "width": 8,
                   "layers": 1, "heads": 2},
        "text": {"use": "bpe_transformer", "width": 8, "layers": 1, "heads": 2, "vocab_size": 400,
                 "max_tokens": max_tokens, "tokenizer": tokenizer},
        "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
    }  # fmt: skip
    data = {"engine": 1, "name": "t", "model": model}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def made(tokenizer: dict[str, Any], max_tokens: int = 16) -> tuple[Any, list[str]]:
    settings = config(tokenizer, max_tokens)
    found = make_tokenizer(settings)
    return found, tokenizer_warnings(found, settings)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    vocabulary = list(dict.fromkeys(BERT_VOCABULARY))
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return tmp_path


def write(folder: Path, name: str, values: object) -> None:
    (folder / name).write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(
    ("stored", "own", "said"),
    [
        ({"do_lower_case": True}, {}, "do_lower_case"),
        ({"do_lower_case": False}, {"do_lower_case": True}, "do_lower_case"),
        ({"tokenizer_class": "BertTokenizer"}, {}, "do_lower_case"),  # its default
        ({"tokenizer_class": "BertTokenizerFast"}, {}, "do_lower_case"),
        ({"do_lower_case": True, "strip_accents": False}, {"do_lower_case": True}, "strip_accents"),
        ({"do_lower_case": False, "strip_accents": True}, {}, "strip_accents"),
        ({"do_lower_case": False, "tokenize_chinese_chars": False}, {}, "tokenize_chinese_chars"),
        ({"do_lower_case": False, "do_basic_tokenize": False}, {}, "do_basic_tokenize"),
        ({"do_lower_case": False, "cls_token": "<s>"}, {}, "cls_token"),
        ({"do_lower_case": False, "sep_token": {"content": "</s>"}}, {}, "sep_token"),
        ({"do_lower_case": False, "unk_token": "<unk>"}, {}, "unk_token"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, {}, "describes a `XLMRobertaTokenizer`"),
        ({"do_lower_case": False, "model_max_length": 8}, {}, "model_max_length"),
    ],
)
def test_wordpiece_is_refused(stored: Any, own: Any, said: str, bert: Path) -> None:
    write(bert, "tokenizer_config.json", stored)
    with pytest.raises(WeightsError) as caught:
        made({"use": "wordpiece", "from": f"file:{bert}", **own})
    assert said in caught.value.message
    assert "tokenizer_config.json" in caught.value.message


@pytest.mark.parametrize(
    ("stored", "own"),
    [
        ({"do_lower_case": False}, {}),
        ({"do_lower_case": True}, {"do_lower_case": True}),
        ({}, {"do_lower_case": True}),
        ({"do_lower_case": True, "strip_accents": None}, {"do_lower_case": True}),
        ({"do_lower_case": True, "strip_accents": False},
         {"do_lower_case": True, "strip_accents": False}),
        ({"tokenizer_class": "BertTokenizer"}, {"do_lower_case": True}),
        ({"do_lower_case": False, "model_max_length": 1e30, "pad_token": "[PAD]"}, {}),
    ],
)  # fmt: skip
def test_wordpiece_that_agrees_gives_the_ids_of_transformers(
    stored: Any, own: Any, bert: Path
) -> None:
    write(bert, "tokenizer_config.json", stored)
    tokenizer, warnings = made({"use": "wordpiece", "from": f"file:{bert}", **own})
    assert warnings == []
    # `from_pretrained` would read the folder once more; the options are what is compared.
    theirs = BertTokenizer(
        vocab={w: i for i, w in enumerate(dict.fromkeys(BERT_VOCABULARY))},
        do_lower_case=tokenizer.settings.do_lower_case,
        strip_accents=tokenizer.settings.strip_accents,
    )
    assert tokenizer.encode(TEXTS, 16) == [theirs(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize(
    ("normalizer", "own", "fits"),
    [
        (normalizers.BertNormalizer(lowercase=False), {}, True),
        (normalizers.BertNormalizer(lowercase=True), {"do_lower_case": True}, True),
        (normalizers.BertNormalizer(lowercase=True), {}, False),
        (normalizers.BertNormalizer(lowercase=False, strip_accents=True), {}, False),
        (normalizers.BertNormalizer(lowercase=False, handle_chinese_chars=False), {}, False),
        (normalizers.BertNormalizer(lowercase=False, clean_text=False), {}, False),
        (normalizers.NFKC(), {}, False),
        (normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=False)]),
         {}, False),
        (normalizers.Sequence([normalizers.Strip(), normalizers.BertNormalizer(lowercase=False)]),
         {}, True),
        (normalizers.Sequence([normalizers.Lowercase(),
                               normalizers.BertNormalizer(lowercase=False)]), {}, False),
    ],
)  # fmt: skip
def test_a_tokenizer_json_beside_a_vocab_txt(
    normalizer: Any, own: Any, fits: bool, bert: Path
) -> None:
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys(BERT_VOCABULARY))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    backend.save(str(bert / "tokenizer.json"))
    settings = {"use": "wordpiece", "from": f"file:{bert}", **own}
    if fits:
        assert made(settings)[1] == []
    else:
        with pytest.raises(WeightsError, match=r"tokenizer\.json"):
            made(settings)


# --- GPT-2 --------------------------------------------------------------------------------------


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    letters = sorted(byte_characters())
    marks = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: i for i, token in enumerate([*marks, *letters, "Ġa", "ab"])}
    write(tmp_path, "vocab.json", vocabulary)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ a\na b\n", encoding="utf-8")
    return tmp_path


def one_file(folder: Path, prefix_space: bool, *, sequence: bool = False) -> None:
    """The same vocabulary as one `tokenizer.json`."""
    vocabulary = json.loads((folder / "vocab.json").read_text())
    backend = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("a", "b")]))
    step: Any = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    if sequence:
        step = pre_tokenizers.Sequence([pre_tokenizers.Digits(), step])
    backend.pre_tokenizer = step
    backend.save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()


def ids(tokenizer: Any, text: str = "ab a") -> list[int]:
    return list(tokenizer.encode([text], 16)[0][1:-1])


def expected(folder: Path, prefix_space: bool) -> list[int]:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    theirs = GPT2Tokenizer(
        vocab=vocabulary, merges=[("Ġ", "a"), ("a", "b")], add_prefix_space=prefix_space
    )
    return list(theirs("ab a", add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("sequence", [True, False])
def test_the_setting_rules_a_tokenizer_json(
    wanted: bool, stored: bool, sequence: bool, gpt2: Path
) -> None:
    right = expected(gpt2, wanted)
    assert right != expected(gpt2, not wanted)
    one_file(gpt2, stored, sequence=sequence)
    source = {"use": "gpt2_bpe", "from": f"file:{gpt2}"}
    tokenizer, _ = made({**source, "add_prefix_space": wanted})
    assert ids(tokenizer) == right
    again = type(tokenizer).from_bytes(tokenizer.settings, tokenizer.to_bytes())
    assert ids(again) == right
    assert made(source)[0].add_prefix_space is stored


@pytest.mark.parametrize("wanted", [True, False])
def test_the_setting_rules_two_files(wanted: bool, gpt2: Path) -> None:
    tokenizer, _ = made({"use": "gpt2_bpe", "from": f"file:{gpt2}", "add_prefix_space": wanted})
    assert ids(tokenizer) == expected(gpt2, wanted)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("form", ["two files", "one file"])
def test_left_out_it_follows_the_source(stored: bool, form: str, gpt2: Path) -> None:
    right = expected(gpt2, stored)
    write(gpt2, "tokenizer_config.json", {"add_prefix_space": stored})
    if form == "one file":
        one_file(gpt2, not stored)
    tokenizer, warnings = made({"use": "gpt2_bpe", "from": f"file:{gpt2}"})
    assert (ids(tokenizer), warnings) == (right, [])


def test_no_step_could_put_a_space(gpt2: Path) -> None:
    one_file(gpt2, False)
    path = gpt2 / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": None}))
    with pytest.raises(WeightsError, match="byte-level"):
        made({"use": "gpt2_bpe", "from": f"file:{gpt2}", "add_prefix_space": True})


@pytest.mark.parametrize(
    ("name", "stored", "own", "said"),
    [
        ("tokenizer_config.json", {"add_prefix_space": True}, {"add_prefix_space": False},
         "add_prefix_space"),
        ("tokenizer_config.json", {"add_prefix_space": False}, {"add_prefix_space": True},
         "add_prefix_space"),
        ("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"}, {"add_prefix_space": True},
         "add_prefix_space"),
        ("tokenizer_config.json", {"eos_token": "<mask>"}, {}, "eos_token"),
        ("special_tokens_map.json", {"eos_token": {"content": "<mask>"}}, {}, "eos_token"),
        ("special_tokens_map.json", {"bos_token": "<unk>"}, {}, "bos_token"),
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}, {}, "LlamaTokenizer"),
        ("tokenizer_config.json", {"do_lower_case": True}, {}, "do_lower_case"),
        ("tokenizer_config.json", {"model_max_length": 10}, {}, "model_max_length"),
    ],
)  # fmt: skip
def test_gpt2_is_refused(name: str, stored: Any, own: Any, said: str, gpt2: Path) -> None:
    write(gpt2, name, stored)
    with pytest.raises(WeightsError, match=said) as caught:
        made({"use": "gpt2_bpe", "from": f"file:{gpt2}", **own})
    assert name in caught.value.message


@pytest.mark.parametrize(
    "stored",
    [
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}},  # nobody chose
        {"tokenizer_class": "GPT2TokenizerFast", "model_max_length": 16},
        {"padding_side": "left", "errors": "replace"},
    ],
)
def test_gpt2_that_agrees(stored: Any, gpt2: Path) -> None:
    write(gpt2, "tokenizer_config.json", stored)
    assert made({"use": "gpt2_bpe", "from": f"file:{gpt2}"})[1] == []


@pytest.mark.parametrize("stored", [{"truncation_side": "left"}, {"pad_token": "<mask>"}])
def test_what_changes_no_short_text_is_a_warning(stored: Any, gpt2: Path) -> None:
    write(gpt2, "tokenizer_config.json", stored)
    _, warnings = made({"use": "gpt2_bpe", "from": f"file:{gpt2}"})
    assert len(warnings) == 1
    assert next(iter(stored)) in warnings[0]


# --- broken files, and artifacts ----------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"3", b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe{}", b"[" * 100_000,
     b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"<html></html>",
     b'{"model_max_length": ' + b"9" * 10_000 + b"}"],
)  # fmt: skip
def test_a_broken_file_is_an_error_in_one_line(content: bytes, bert: Path) -> None:
    (bert / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"tokenizer_config\.json") as caught:
        made({"use": "wordpiece", "from": f"file:{bert}"})
    assert "\n" not in caught.value.message


def test_a_file_without_end_is_not_read(bert: Path) -> None:
    with (bert / "tokenizer_config.json").open("wb") as file:
        file.truncate(20 * 2**20)
    with pytest.raises(WeightsError, match="larger than"):
        made({"use": "wordpiece", "from": f"file:{bert}"})


@pytest.mark.parametrize(
    ("key", "stored", "own"),
    [
        ("do_lower_case", True, False),
        ("do_lower_case", False, True),
        ("strip_accents", True, False),
    ],
)
def test_an_artifact_knows_how_its_tokenizer_reads(
    key: str, stored: bool, own: bool, bert: Path, tmp_path: Path
) -> None:
    from engine.core.config import dump_config

    settings = config({"use": "wordpiece", "from": f"file:{bert}", key: stored})
    tokenizer = make_tokenizer(settings)
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    (folder / "config.yaml").write_text(dump_config(settings), encoding="utf-8")
    source = {"use": "wordpiece", "from": f"artifact:{folder}"}
    assert made({**source, key: stored})[1] == []
    with pytest.raises(WeightsError, match=f"`{key}` is"):
        made({**source, key: own})

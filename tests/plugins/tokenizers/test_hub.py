"""Tokenizers of multilingual models: the ids of transformers' and open_clip's own classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_clip.tokenizer import HFTokenizer

from engine.contracts import PluginRef, Tokenizer
from engine.core.descriptions import check, tokenizer_differences
from engine.errors import WeightsError
from engine_plugins.tokenizers.languages import NLLB_LANGUAGES

from . import hub_folders
from .hub_folders import MAKERS, Made, many_texts

MakeUse = Callable[..., PluginRef]
PLUGIN = {"mt5": "t5"}
SETTINGS: dict[str, dict[str, Any]] = {"nllb": {"language": "rus_Cyrl"}}


def made(make_use: MakeUse, name: str, folder: Path, **settings: Any) -> Tokenizer:
    use = make_use(
        "tokenizer", PLUGIN.get(name, name),
        **{"from": f"file:{folder}", **SETTINGS.get(name, {}), **settings},
    )  # fmt: skip
    tokenizer: Tokenizer = use.target().make(
        use.settings, lambda: pytest.fail("nothing is to be trained"), 10_000
    )
    return tokenizer


@pytest.fixture(scope="module", params=list(MAKERS))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp(request.param)
    return request.param, MAKERS[request.param](top)


def theirs(original: Any, texts: list[str], length: int) -> list[list[int]]:
    rows: list[list[int]] = original(texts, max_length=length, truncation=True)["input_ids"]
    return rows


def differing(texts: list[str], ours: list[list[int]], right: list[list[int]]) -> list[Any]:
    return [row for row in zip(texts, ours, right, strict=True) if row[1] != row[2]]


@pytest.mark.parametrize("form", ["pieces", "fast"])
@pytest.mark.parametrize("length", [64, 7])
def test_ids_of_5000_texts_are_transformers(
    family: tuple[str, Made], form: str, length: int, make_use: MakeUse
) -> None:
    name, (pieces, fast, original) = family
    if (name, form) == ("gemma", "pieces"):
        pytest.skip("transformers' Gemma has a tokenizer.json alone")
    texts = list(many_texts())
    tokenizer = made(make_use, name, pieces if form == "pieces" else fast)
    ours, right = tokenizer.encode(texts, length), theirs(original, texts, length)
    if (name, form) == ("nllb", "pieces"):
        # fairseq's order: the languages, then <mask>. The class puts <mask> first here, and loses
        # the languages where it reads the model itself; the hub's files have fairseq's order.
        assert {row[0] for row in ours} == {len(original._vocab) + NLLB_LANGUAGES.index("rus_Cyrl")}
        ours = [[right[0][0], *row[1:]] for row in ours]
    assert differing(texts, ours, right) == []
    assert len({tuple(row) for row in right}) > 3000  # not all unknown


@pytest.mark.parametrize("name", ["t5", "gemma"])
def test_ids_through_open_clips_canonical_form(
    name: str, tmp_path: Path, make_use: MakeUse
) -> None:
    _, fast, original = MAKERS[name](tmp_path)
    texts = [text for text in many_texts() if "\x00" not in text]
    wrapped = HFTokenizer(str(fast), context_length=24, clean="canonicalize")
    pad = {"t5": "<pad>", "gemma": "<pad>"}[name]
    tokenizer = made(make_use, name, fast, clean="canonicalize")
    ours = tokenizer.encode(texts, 24)
    filled = [[*row, *[tokenizer.pad_id] * (24 - len(row))] for row in ours]
    assert tokenizer.pad_id == original.convert_tokens_to_ids(pad)
    assert differing(texts, filled, wrapped(texts).tolist()) == []


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_open_clips_cleaning(clean: str, tmp_path: Path, make_use: MakeUse) -> None:
    _, fast, _ = hub_folders.xlm_roberta(tmp_path)
    texts = [text for text in many_texts(800) if "\x00" not in text]
    wrapped = HFTokenizer(str(fast), context_length=32, clean=clean)
    ours = made(make_use, "xlm_roberta", fast, clean=clean).encode(texts, 32)
    right = [[i for i in row if i != 1] for row in wrapped(texts).tolist()]  # 1 is padding
    assert differing(texts, ours, right) == []


def test_ids_of_the_slow_siglip_tokenizer(tmp_path: Path, make_use: MakeUse) -> None:
    folder, _, original = hub_folders.siglip(tmp_path)
    texts = [text for text in many_texts() if "\x00" not in text]
    tokenizer = made(make_use, "siglip", folder)
    assert tokenizer.pad_id == original.pad_token_id == 1
    for length in (64, 5):
        ours, right = tokenizer.encode(texts, length), theirs(original, texts, length)
        assert differing(texts, ours, right) == []


def test_a_text_never_spells_a_mark(family: tuple[str, Made], make_use: MakeUse) -> None:
    name, (pieces, fast, _) = family
    texts = ["</s>", "<s> <pad> <mask>", "a<eos>b", "<bos>", "<extra_id_3>", "eng_Latn", "<unk>"]
    for folder in {fast} if name == "gemma" else {pieces, fast}:
        tokenizer = made(make_use, name, folder)
        usual = tokenizer.encode(["кот"], 50)[0]
        marks = {usual[0], usual[-1], tokenizer.pad_id}
        for row in tokenizer.encode(texts, 50):
            body = row[1:-1] if name in ("xlm_roberta", "nllb") else row[:-1]
            assert not marks & set(body) or name in ("t5", "mt5", "gemma"), texts
            assert row[-1] not in body


def test_extra_ids_need_no_rows(tmp_path: Path, make_use: MakeUse) -> None:
    for name in ("t5", "mt5"):
        (tmp_path / name).mkdir()
        pieces, fast, original = MAKERS[name](tmp_path / name)
        last = max(i for text, i in original.get_vocab().items() if "extra_id" not in text)
        for folder in (pieces, fast):
            assert made(make_use, name, folder).vocab_size == last + 1 < len(original)


def test_an_artifact_brings_it_back(family: tuple[str, Made], make_use: MakeUse) -> None:
    name, (_, fast, _) = family
    tokenizer: Any = made(make_use, name, fast)
    again = type(tokenizer).from_bytes(tokenizer.settings, tokenizer.to_bytes())
    texts = list(many_texts(500))
    assert again.encode(texts, 20) == tokenizer.encode(texts, 20)
    assert (again.pad_id, again.vocab_size) == (tokenizer.pad_id, tokenizer.vocab_size)


def refusal(tokenizer: Tokenizer, folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        check(tokenizer_differences(tokenizer, f"file:{folder}", 16), str(folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "stated", "settings", "named"),
    [
        ("gemma", {"do_lower_case": True}, {"lower": False}, "do_lower_case"),
        ("gemma", {"add_eos_token": False}, {}, "add_eos_token"),
        ("gemma", {"add_bos_token": True}, {}, "add_bos_token"),
        ("gemma", {"padding_side": "left"}, {}, "padding_side"),
        ("gemma", {"tokenizer_class": "T5Tokenizer"}, {}, "T5Tokenizer"),
        ("t5", {"pad_token": "</s>"}, {}, "pad_token"),
        ("t5", {"do_lower_case": True}, {}, "do_lower_case"),
        ("xlm_roberta", {"eos_token": "<end>"}, {}, "eos_token"),
        ("xlm_roberta", {"tokenizer_class": "GPT2Tokenizer"}, {}, "GPT2Tokenizer"),
        ("nllb", {"src_lang": "fra_Latn"}, {}, "src_lang"),
        ("nllb", {"legacy_behaviour": True}, {}, "legacy_behaviour"),
    ],
)
def test_what_lies_beside_a_vocabulary_is_read(
    name: str,
    stated: dict[str, Any],
    settings: dict[str, Any],
    named: str,
    tmp_path: Path,
    make_use: MakeUse,
) -> None:
    _, fast, _ = MAKERS[name](tmp_path)
    tokenizer = made(make_use, name, fast, **settings)
    right = made(make_use, name, fast)
    check(tokenizer_differences(right, f"file:{fast}", 16), str(fast))  # as saved: no complaint
    path = fast / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **stated}))
    assert named in refusal(tokenizer, fast)


def test_another_familys_folder_is_refused_by_name(tmp_path: Path, make_use: MakeUse) -> None:
    folders = {}
    for name in ("xlm_roberta", "t5", "nllb", "gemma"):
        (tmp_path / name).mkdir()
        folders[name] = MAKERS[name](tmp_path / name)[1]
    for name, other in (("gemma", "t5"), ("nllb", "xlm_roberta"), ("t5", "nllb"),
                        ("xlm_roberta", "t5")):  # fmt: skip
        with pytest.raises(WeightsError, match="plugin"):
            made(make_use, name, folders[other])


def test_a_missing_or_broken_file_is_named(tmp_path: Path, make_use: MakeUse) -> None:
    with pytest.raises(WeightsError, match=r"sentencepiece\.bpe\.model"):
        made(make_use, "xlm_roberta", tmp_path)
    for text in ("{", "[]", '{"model": 3}', '{"model": {"vocab": {"a": 0}, "type": "BPE"}}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(WeightsError, match=r"tokenizer\.json"):
            made(make_use, "gemma", tmp_path)
    shutil.rmtree(tmp_path)

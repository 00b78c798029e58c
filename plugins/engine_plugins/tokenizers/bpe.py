"""Byte-level BPE: GPT-2's and OpenAI CLIP's.

Sources: GPT-2 (Radford et al., 2019; repository openai/gpt-2), CLIP (Radford et al., 2021,
arXiv:2103.00020; repository openai/CLIP, and open_clip, which carries the vocabulary).
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from engine.contracts.description import Table
from engine.core.sources import UnreachableError, find_source
from engine.errors import WeightsError
from engine_plugins.tokenizers import tables
from engine_plugins.tokenizers.backend import build_model, parse_backend
from engine_plugins.tokenizers.base import (
    Parts,
    RustTokenizer,
    fill_holes,
    read_bytes,
    read_ids,
    read_json,
    read_text,
)
from engine_plugins.tokenizers.cleaning import unescaped
from engine_plugins.tokenizers.learn import Units, check_room, count_words, learn_merges, number
from engine_plugins.tokenizers.settings import ClipBpeSettings, Gpt2BpeSettings
from engine_plugins.tokenizers.trim import Spelling

CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES = 49152 - 256 - 2
"""Merges that CLIP's vocabulary takes from its file, which holds more of them."""

_TWO_FILES = ("vocab.json", "merges.txt")
_ONE_FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_WITHOUT_SPACE = ("GPT2Tokenizer", "RobertaTokenizer")  # unless their file says otherwise
_WORD_END = "</w>"
_START, _END = "<start_of_text>", "<end_of_text>"
_MAX_BYTES = 64 * 2**20  # what a compressed vocabulary may unpack to
# After the cleaning a text is in lower case (but ſ, which is s where case is ignored), and its only
# white space is the space.
_CLIP_WORD = Regex(r"'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")


def byte_characters() -> list[str]:
    """GPT-2's character for each byte, from 0 to 255: itself where it prints, else from U+0100."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    other = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printed else chr(next(other)) for byte in range(256)]


def byte_numbers() -> dict[str, int]:
    """The byte of each of those characters."""
    return {character: byte for byte, character in enumerate(byte_characters())}


def parse_merges(text: str, where: str) -> list[tuple[str, str]]:
    """Lines of two tokens; the first line may be a version.

    Raises:
        WeightsError: a line is something else (names it), or there is none.
    """
    merges: list[tuple[str, str]] = []
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line or (line_number == 1 and "#version" in line):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise WeightsError(f"{where}, line {line_number}: expected two tokens, not {line!r}")
        merges.append((pair[0], pair[1]))
    if not merges:
        raise WeightsError(f"{where} has no merges: it is empty or cut off")
    return merges


class Gpt2Bpe(RustTokenizer[Gpt2BpeSettings]):
    """White space folded, ``<s> ids </s>``."""

    name = "gpt2_bpe"
    described: ClassVar[tuple[Table, ...]] = tables.GPT2_BPE

    @property
    def add_prefix_space(self) -> bool:
        """Whether a space is put before a text."""
        return _prefix_space(self._parts.backend)

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(alphabet=byte_numbers())

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        return " ".join(text.split())

    @classmethod
    def read(cls, settings: Gpt2BpeSettings) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        files = find_source(settings.from_, [*_TWO_FILES, _ONE_FILE, "added_tokens.json"],
                            needs=(_TWO_FILES, (_ONE_FILE,)))  # fmt: skip
        if "vocab.json" in files and "merges.txt" in files:
            vocabulary = read_ids(files["vocab.json"])
            merges = parse_merges(read_text(files["merges.txt"]), str(files["merges.txt"]))
            backend = cls._backend(settings, vocabulary, merges, _stated_prefix_space(settings))
            added = read_ids(files["added_tokens.json"]) if "added_tokens.json" in files else {}
            return cls._assemble(settings, backend, {**vocabulary, **added})
        path = files[_ONE_FILE]
        try:
            backend = parse_backend(read_text(path))
        except ValueError as error:
            raise WeightsError(f"{path}: {error}") from error
        if not isinstance(backend.model, models.BPE):
            raise WeightsError(f"{path} is not a BPE model, but {type(backend.model).__name__}")
        _set_prefix_space(backend, _stated_prefix_space(settings), str(path))
        return cls._assemble(settings, backend, backend.get_vocab(with_added_tokens=True))

    @classmethod
    def learn(
        cls, settings: Gpt2BpeSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        letters = sorted(byte_characters())
        # ruGPT-3's order: <pad>, <s>, </s>, <unk>, <mask>.
        first = [*number([settings.pad, settings.bos, settings.eos, "<unk>", "<mask>"]), *letters]
        check_room(cls.name, vocab_size, len(first))
        splitter = cls._splitter(settings)
        words = count_words(
            (" ".join(text.split()) for text in texts),
            lambda text: (word for word, _ in splitter.pre_tokenize_str(text)),
            tuple,
        )
        learned = learn_merges(words, letters, vocab_size - len(first), settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        vocabulary = number([*first, *(left + right for left, right in merges)])
        backend = cls._backend(settings, vocabulary, merges)
        return cls._assemble(settings, backend, vocabulary), words.texts

    @staticmethod
    def _splitter(settings: Gpt2BpeSettings) -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.add_prefix_space))

    @classmethod
    def _backend(
        cls,
        settings: Gpt2BpeSettings,
        vocabulary: Mapping[str, int],
        merges: list[tuple[str, str]],
        prefix_space: bool | None = None,
    ) -> Tokenizer:
        model = build_model(settings.from_, lambda: models.BPE(fill_holes(vocabulary), merges))
        backend = Tokenizer(model)
        backend.pre_tokenizer = cls._splitter(settings)
        _set_prefix_space(backend, prefix_space, settings.from_)
        return backend

    @staticmethod
    def _assemble(settings: Gpt2BpeSettings, backend: Tokenizer, ids: Mapping[str, int]) -> Parts:
        missing = [mark for mark in (settings.bos, settings.eos, settings.pad) if mark not in ids]
        if missing:
            raise WeightsError(
                f"the vocabulary of {settings.from_} does not have {', '.join(missing)}",
                hint="set the tokenizer's `bos`, `eos` and `pad` to marks that it has",
            )
        return Parts(backend, (ids[settings.bos],), (ids[settings.eos],), ids[settings.pad])


def _stated_prefix_space(settings: Gpt2BpeSettings) -> bool | None:
    """The setting; where it is left out, what ``tokenizer_config.json`` beside the files says."""
    if settings.add_prefix_space is not None:
        return settings.add_prefix_space
    try:
        path = find_source(settings.from_, [_CONFIG])[_CONFIG]
        stated = json.loads(read_text(path))
        usual = str(stated.get("tokenizer_class")).removesuffix("Fast") in _WITHOUT_SPACE
        found = stated.get("add_prefix_space", False if usual else None)
    except (WeightsError, ValueError, AttributeError, RecursionError):
        return None  # no such file; a broken one is refused by who holds it against the config
    return found if isinstance(found, bool) else None


def _byte_levels(backend: Tokenizer) -> list[pre_tokenizers.ByteLevel]:
    own: Any = backend.pre_tokenizer
    several = isinstance(own, pre_tokenizers.Sequence)
    steps: list[Any] = [*own] if several else [own]
    return [step for step in steps if isinstance(step, pre_tokenizers.ByteLevel)]


def _prefix_space(backend: Tokenizer) -> bool:
    return any(step.add_prefix_space for step in _byte_levels(backend))


def _set_prefix_space(backend: Tokenizer, wanted: bool | None, where: str) -> None:
    """Put a space before every text, or do not; ``None``: as the backend does already.

    Raises:
        WeightsError: the backend has no step that could.
    """
    if wanted is None or wanted == _prefix_space(backend):
        return
    steps = _byte_levels(backend)
    if not steps:
        raise WeightsError(
            f"{where} splits texts without the byte-level step, which puts the space before a text",
            hint="leave the tokenizer's `add_prefix_space` out",
        )
    for step in steps:
        step.add_prefix_space = wanted and step is steps[0]


class ClipBpe(RustTokenizer[ClipBpeSettings]):
    """Mended, unescaped, folded, in lower case, ``<start_of_text> ids <end_of_text>``."""

    name = "clip_bpe"
    described: ClassVar[tuple[Table, ...]] = tables.CLIP_BPE

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(suffix=_WORD_END, alphabet=byte_numbers())

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        return clip_clean(text)

    @classmethod
    def read(cls, settings: ClipBpeSettings) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        path = _clip_file(settings.from_)
        if path.name == _ONE_FILE:
            return cls._of_one_file(settings, path)
        text = _unpacked(path) if path.suffix == ".gz" else read_text(path)
        return cls._assemble(settings, parse_merges(text, str(path))[:CLIP_MERGES])

    @classmethod
    def learn(
        cls, settings: ClipBpeSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        letters = sorted(byte_characters())
        alphabet = [*letters, *(letter + _WORD_END for letter in letters)]
        check_room(cls.name, vocab_size, len(alphabet) + 2)
        splitter = cls._splitter()

        def units(word: str) -> Units:
            return (*word[:-1], word[-1] + _WORD_END)

        words = count_words(
            map(clip_clean, texts),
            lambda text: (word for word, _ in splitter.pre_tokenize_str(text)),
            units,
        )
        room = vocab_size - len(alphabet) - 2
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        return cls._assemble(settings, merges), words.texts

    @classmethod
    def _of_one_file(cls, settings: ClipBpeSettings, path: Path) -> Parts:
        """The merges of a ``tokenizer.json``, under CLIP's own ids, which must be the file's."""
        document = read_json(path)
        model = document.get("model")
        merges = model.get("merges") if isinstance(model, Mapping) else None
        if not isinstance(model, Mapping) or not isinstance(merges, list):
            raise WeightsError(f"{path} is not a BPE: it has no merges")
        lines = [" ".join(pair) if isinstance(pair, list) else str(pair) for pair in merges]
        parts = cls._assemble(settings, parse_merges("\n".join(lines), str(path)))
        ids = model.get("vocab")
        own = parts.backend.get_vocab()
        odd = [
            token
            for token, index in (ids.items() if isinstance(ids, Mapping) else ())
            if own.get(token, index) != index
        ]
        size = 1 + max(ids.values(), default=0) if isinstance(ids, Mapping) and ids else 0
        if odd or size > len(own) or not size:
            what = f"the id {ids[odd[0]]} for {odd[0]!r:.40}" if odd and ids else f"{size} ids"
            raise WeightsError(
                f"{path} has {what}, where CLIP's numbering of these merges gives"
                f" {own[odd[0]] if odd else len(own)}",
                hint="it is a BPE of another family: see `engine plugins tokenizer`",
            )
        return parts

    @staticmethod
    def _splitter() -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(_CLIP_WORD, "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    @classmethod
    def _assemble(cls, settings: ClipBpeSettings, merges: list[tuple[str, str]]) -> Parts:
        # CLIP numbers the bytes that print first, then the others.
        letters = sorted(byte_characters())
        tokens = [
            *letters,
            *(letter + _WORD_END for letter in letters),
            *("".join(pair) for pair in merges),
        ]
        vocabulary = number(tokens)
        start, end = len(vocabulary), len(vocabulary) + 1
        vocabulary = {**vocabulary, _START: start, _END: end}
        model = build_model(
            settings.from_,
            lambda: models.BPE(vocabulary, merges, end_of_word_suffix=_WORD_END),
        )
        backend = Tokenizer(model)
        backend.pre_tokenizer = cls._splitter()
        return Parts(backend, (start,), (end,), pad=0)


def clip_clean(text: str) -> str:
    """CLIP's cleaning: wrong encodings mended, HTML unescaped twice, spaces folded, lower case."""
    return " ".join(unescaped(text).split()).lower()


def _clip_file(source: str) -> Path:
    if not source.startswith("open_clip:"):
        names = [CLIP_FILE, CLIP_FILE.removesuffix(".gz"), "merges.txt", _ONE_FILE]
        return next(iter(find_source(source, names, first_only=True).values()))
    package = importlib.util.find_spec("open_clip")  # finds it without importing it (and torch)
    for folder in (package and package.submodule_search_locations) or ():
        if (path := Path(folder) / CLIP_FILE).is_file():
            return path
    raise UnreachableError(
        f"{source}: open_clip is not installed, or does not carry {CLIP_FILE}",
        hint="pip install open_clip_torch",
    )


def _unpacked(path: Path) -> str:
    read_bytes(path)  # a file that cannot be read at all says so itself
    try:
        with gzip.open(path) as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise WeightsError(f"{path} unpacks to more than {_MAX_BYTES} bytes")
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is not a gzip file of UTF-8 text: {error}") from error

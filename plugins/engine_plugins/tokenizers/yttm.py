"""YouTokenToMe's BPE, as ruCLIP uses it, read into the library `tokenizers`.

A `bpe.model` file is text: ``<characters> <rules>``; a line ``<code point> <id>`` for each
character; a line ``<left id> <right id> <new id>`` for each rule, in order; at last the ids
``<unknown> <padding> <begin> <end>``, -1 for none. Source: repository VKCOM/YouTokenToMe, version
1.0.6; package ruclip 0.0.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from engine.contracts.description import Table
from engine.core.sources import find_source
from engine.errors import WeightsError
from engine_plugins.tokenizers import tables
from engine_plugins.tokenizers.backend import build_model
from engine_plugins.tokenizers.base import Parts, RustTokenizer, fill_holes, read_text, whole
from engine_plugins.tokenizers.bounds import LONGEST_PIECE
from engine_plugins.tokenizers.learn import (
    check_room,
    choose_alphabet,
    count_words,
    learn_merges,
    number,
)
from engine_plugins.tokenizers.settings import YouTokenToMeSettings
from engine_plugins.tokenizers.trim import Spelling

_SPACE = "▁"  # U+2581 begins every word
# C's white space and U+2581 part words; other white space of Unicode is a character like any other.
_BETWEEN_WORDS = Regex("[ \\t\\n\\x0b\\x0c\\r▁]+")
# Special tokens are spelled with a space, which no word holds, so that no text can spell them.
_UNKNOWN_TOKEN = " <UNK>"
_MAX_CHARACTERS = 50_000_000  # in all pieces together; a vocabulary of 100,000 has a million
_MAX_WORK = 10_000_000  # squares of the lengths of pieces that several rules spell
_PAD, _UNKNOWN, _FIRST, _LAST = range(4)  # YouTokenToMe's own defaults, for a trained vocabulary


@dataclass(frozen=True)
class BpeModel:
    """A `bpe.model` file.

    Attributes:
        characters: the id of each character.
        rules: (left id, right id, new id), the first to apply first.
        unknown: the id of a run of unknown characters.
        pad: the id of padding, -1 for none.
        begin: the id of the begin mark, -1 for none.
        end: the id of the end mark, -1 for none.
    """

    characters: Mapping[str, int]
    rules: tuple[tuple[int, int, int], ...]
    unknown: int
    pad: int
    begin: int
    end: int


def parse_bpe_model(text: str, where: str) -> BpeModel:
    """Parse a `bpe.model` file.

    Raises:
        WeightsError: a line is not as it should be; says which and why.
    """
    lines = text.rstrip("\n").split("\n")

    def numbers(index: int, count: int, what: str) -> list[int]:
        line = lines[index] if index < len(lines) else None
        words = line.split() if line is not None else []
        if len(words) != count or not all(_is_number(word) for word in words):
            found = "the end of the file" if line is None else repr(line[:60])
            raise WeightsError(
                f"{where}, line {index + 1}: expected {what}, found {found}",
                hint="expected a `bpe.model` as YouTokenToMe writes it",
            )
        return [int(word) for word in words]

    def wrong(index: int, reason: str) -> WeightsError:
        return WeightsError(f"{where}, line {index + 1}: {reason}")

    characters_count, rules_count = numbers(0, 2, "the numbers of characters and of rules")
    if min(characters_count, rules_count) < 0:
        raise wrong(0, "a number of characters or rules is negative")
    expected = 2 + characters_count + rules_count
    if len(lines) != expected:
        raise WeightsError(
            f"{where} has {len(lines)} lines, but its line 1 promises {expected}",
            hint="the file is cut off or damaged: get it again",
        )
    last = expected - 1
    unknown, pad, begin, end = numbers(last, 4, "the ids of unknown, padding, begin and end")
    limit = characters_count + rules_count + 4
    special = [i for i in (unknown, pad, begin, end) if i != -1]
    if unknown < 0 or any(not 0 <= i < limit for i in special):
        raise wrong(last, "a special id is out of range")
    if len(set(special)) != len(special):
        raise wrong(last, "two special tokens have one id")

    taken = set(special)
    characters: dict[str, int] = {}
    for index in range(1, 1 + characters_count):
        code_point, token = numbers(index, 2, "a code point and an id")
        if not 0 <= code_point < 0x110000 or 0xD800 <= code_point < 0xE000:
            raise wrong(index, f"{code_point} is not a code point")
        if chr(code_point) in characters:
            raise wrong(index, f"the character {chr(code_point)!r} comes again")
        if token in taken or not 0 <= token < limit:
            raise wrong(index, f"the id {token} is taken or out of range")
        characters[chr(code_point)] = token
        taken.add(token)
    if _SPACE not in characters:
        raise WeightsError(f"{where}: no line for the character U+2581, which begins every word")

    pieces = set(characters.values())
    rules: list[tuple[int, int, int]] = []
    for index in range(1 + characters_count, last):
        left, right, new = numbers(index, 3, "a rule of three ids")
        if left not in pieces or right not in pieces:
            raise wrong(index, "the rule joins an id that no line before it makes")
        if new in taken or not 0 <= new < limit:
            raise wrong(index, f"the id {new} is taken or out of range")
        rules.append((left, right, new))
        pieces.add(new)
        taken.add(new)
    return BpeModel(characters, tuple(rules), unknown, pad, begin, end)


def _is_number(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and word.isascii() and len(word) < 11


class YouTokenToMe(RustTokenizer[YouTokenToMeSettings]):
    """``[begin] ids [end]``; a run of unknown characters inside a word is one unknown id."""

    name = "youtokentome"
    described: ClassVar[tuple[Table, ...]] = tables.YOUTOKENTOME

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(space=_SPACE)

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        return text.lower() if self.settings.lower else text

    @classmethod
    def read(cls, settings: YouTokenToMeSettings) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        path = find_source(settings.from_, [settings.file])[settings.file]
        model = parse_bpe_model(read_text(path), str(path))
        if -1 in (model.begin, model.end):
            raise WeightsError(
                f"{path} has no begin or no end mark (its last line says -1)",
                hint="train it with YouTokenToMe's own bos_id and eos_id",
            )
        vocabulary, merges = _as_strings(model, str(path))
        vocabulary[_UNKNOWN_TOKEN] = model.unknown
        pad = max(model.pad, 0)
        marks = {" <BOS>": model.begin, " <EOS>": model.end, " <PAD>": model.pad}
        vocabulary.update((mark, i) for mark, i in marks.items() if i >= 0)
        backend = cls._backend(settings, fill_holes(vocabulary), merges)
        return Parts(backend, (model.begin,), (model.end,), pad, model.unknown)

    @classmethod
    def learn(
        cls, settings: YouTokenToMeSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        marks = [" <PAD>", _UNKNOWN_TOKEN, " <BOS>", " <EOS>"]
        check_room(cls.name, vocab_size, len(marks) + 1)
        splitter = cls._splitter()

        def split(text: str) -> Iterable[str]:
            clean = whole(text).lower() if settings.lower else whole(text)
            return (word for word, _ in splitter.pre_tokenize_str(clean))

        words = count_words(texts, split, tuple)
        alphabet = choose_alphabet(words, vocab_size - len(marks), [_SPACE])
        room = vocab_size - len(marks) - len(alphabet)
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        vocabulary = number([*marks, *alphabet, *map("".join, merges)])
        backend = cls._backend(settings, vocabulary, merges)
        return Parts(backend, (_FIRST,), (_LAST,), _PAD, _UNKNOWN), words.texts

    @staticmethod
    def _splitter() -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(_BETWEEN_WORDS, "removed"),
                pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
            ]
        )

    @classmethod
    def _backend(
        cls,
        settings: YouTokenToMeSettings,
        vocabulary: dict[str, int],
        merges: list[tuple[str, str]],
    ) -> Tokenizer:
        model = build_model(
            settings.from_,
            lambda: models.BPE(vocabulary, merges, unk_token=_UNKNOWN_TOKEN, fuse_unk=True),
        )
        backend = Tokenizer(model)
        backend.pre_tokenizer = cls._splitter()
        return backend


def _as_strings(model: BpeModel, where: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Rules between ids -> a vocabulary of strings and merges between strings.

    YouTokenToMe knows pieces by id, the library `tokenizers` by spelling. Two rules may spell the
    same piece, but only one of them can ever apply: where no merge crosses a chunk's border, the
    merges inside of it follow from its characters alone. That one is found by applying the rules to
    the spelling, and the others are left out.

    Raises:
        WeightsError: the rules spell pieces that no real vocabulary has.
    """
    spelling = {i: character for character, i in model.characters.items()}
    total = 0
    for left, right, new in model.rules:
        length = len(spelling[left]) + len(spelling[right])
        total += length
        if length > LONGEST_PIECE or total > _MAX_CHARACTERS:
            raise WeightsError(
                f"{where}: its rules spell pieces of {length:,} characters, {total:,} in all",
                hint=f"A real piece has at most {LONGEST_PIECE:,}: the file is damaged, or made to"
                " do harm.",
            )
        spelling[new] = spelling[left] + spelling[right]
    made: dict[str, list[int]] = {}
    for _, _, new in model.rules:
        made.setdefault(spelling[new], []).append(new)
    work = sum(len(text) ** 2 for text, ids in made.items() if len(ids) > 1)
    if work > _MAX_WORK:
        raise WeightsError(f"{where}: too many of its rules spell the same long pieces")
    rank = {(left, right): (place, new) for place, (left, right, new) in enumerate(model.rules)}
    vocabulary = dict(model.characters)
    for text, ids in made.items():
        alive = ids[0] if len(ids) == 1 else _apply(text, model.characters, rank)
        if alive in ids:
            vocabulary[text] = alive
    merges = [
        (spelling[left], spelling[right])
        for left, right, new in model.rules
        if vocabulary.get(spelling[new]) == new
        and vocabulary.get(spelling[left]) == left
        and vocabulary.get(spelling[right]) == right
    ]
    return vocabulary, merges


def _apply(
    text: str,
    characters: Mapping[str, int],
    rank: Mapping[tuple[int, int], tuple[int, int]],
) -> int | None:
    """The one id that the rules make of a spelling, or ``None`` where more than one remains."""
    ids = [characters[character] for character in text]
    while len(ids) > 1:
        pairs = (rank[pair] for pair in pairwise(ids) if pair in rank)
        best = min(pairs, default=None)
        if best is None:
            return None
        place = next(i for i in range(len(ids) - 1) if rank.get((ids[i], ids[i + 1])) == best)
        ids[place : place + 2] = [best[1]]
    return ids[0]

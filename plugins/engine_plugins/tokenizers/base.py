"""What the built-in tokenizers share: the Rust library `tokenizers`, their marks, their bytes.

A text's own characters never become a mark: a query that holds ``</s>`` is read as four characters.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from tokenizers import Tokenizer as Backend

from engine.contracts import Texts, Tokenizer, TokenizerSettings, Trimmed
from engine.core.sources import UnreachableError, find_source
from engine.errors import ArtifactError, WeightsError
from engine_plugins.tokenizers import trim
from engine_plugins.tokenizers.backend import backend_of, guarded, parse_backend, parsed
from engine_plugins.tokenizers.bounds import MAX_BYTES

S = TypeVar("S", bound=TokenizerSettings)

FORMAT = 1
MAX_IDS = 10_000_000
"""More ids than any vocabulary has; a larger one is a broken file."""

_MAX_HOLES, _FEW_IDS = 4, 1000  # ids without a token: real vocabularies have a few
_LONGEST_ORIGIN = 10_000  # bytes
_MAX_MARKS = 64
_CHUNK = 4096  # texts at a time, so that the library's own records of them stay small
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Parts:
    """What a tokenizer is made of, loaded or trained.

    Attributes:
        backend: gives the ids of a text, without marks.
        begin: marks before the text.
        end: marks after it.
        pad: the id that fills a row up.
        unknown: the id of what the vocabulary does not have, where there is one.
        extra: what else a subclass needs to restore itself (JSON types only).
    """

    backend: Backend
    begin: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    unknown: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class RustTokenizer(Tokenizer, Generic[S]):
    """Base of the built-in tokenizers: a subclass reads a source and learns from texts.

    Attributes:
        name: the registered name, written into the bytes.
        settings: the plugin's settings.
    """

    name: ClassVar[str]

    def __init__(self, settings: S, parts: Parts, origin: str) -> None:
        self.settings = settings
        self.origin = origin
        self.pad_id = parts.pad
        self._parts = parts
        # The marks of a tokenizer.json are known by their text; without this they would be found
        # inside of queries too.
        parts.backend.encode_special_tokens = True
        parts.backend.no_truncation()
        parts.backend.no_padding()
        ids = parts.backend.get_vocab(with_added_tokens=True).values()
        self.vocab_size = 1 + max((*ids, *parts.begin, *parts.end, parts.pad, parts.unknown or 0))

    @classmethod
    @abstractmethod
    def read(cls, settings: S) -> Parts:
        """Read ``settings.from_`` (neither scratch nor an artifact).

        Raises:
            UnreachableError: it is not there, or cannot be reached.
            WeightsError: it is there, but broken.
        """

    @classmethod
    @abstractmethod
    def learn(cls, settings: S, texts: Iterable[str], vocab_size: int) -> tuple[Parts, int]:
        """Train a vocabulary of this kind, at most ``vocab_size`` ids; also count the texts.

        Raises:
            DataError: there is no text, or nothing but white space.
            ConfigError: ``vocab_size`` is too small for this kind.
        """

    def prepare(self, text: str) -> str:
        """What happens to a text before the backend sees it."""
        return text

    def pieces(self) -> dict[int, str]:
        """See the contract."""
        parts = self._parts
        shown = {parts.pad, parts.unknown}
        marks = {*parts.begin, *parts.end} - shown
        found = {}
        for piece, i in parts.backend.get_vocab(with_added_tokens=True).items():
            if i in shown:
                found[i] = piece.removeprefix(" ")
            elif i not in marks and not piece.startswith(" "):  # so no text spells a mark
                found[i] = piece
        return found

    def spelling(self) -> trim.Spelling:
        """How the tokens of this vocabulary are spelled; by default character by character."""
        return trim.Spelling()

    def trimmed(self, letters: Collection[str], texts: Iterable[str] = ()) -> Trimmed:
        """See the contract."""
        backend, spelling = self._parts.backend, self.spelling()
        document = json.loads(backend.to_str())
        vocabulary = trim.vocabulary_of(document)
        speller = trim.Speller(trim.closed(letters, self._normalised) if letters else (), spelling)
        tokens = {token for token in vocabulary if speller.spells(token)}
        used = {
            i for row in self._encoded([self.prepare(whole(t)) for t in texts]) for i in row.ids
        }
        named = {i: token for token, i in vocabulary.items()}
        own = {named[i] for i in used if i in named} | trim.must_stay(document)
        tokens |= trim.with_parts(document, own, spelling)
        parts = self._parts
        marks = {*parts.begin, *parts.end, parts.pad}
        marks |= set() if parts.unknown is None else {parts.unknown}
        if document["model"]["type"] == "Unigram" and document["model"]["unk_id"] is not None:
            marks.add(document["model"]["unk_id"])
        kept = sorted(marks | used | {vocabulary[token] for token in tokens & vocabulary.keys()})
        number = {old: new for new, old in enumerate(kept)}
        made = parse_backend(json.dumps(trim.trimmed(document, kept, spelling)))
        new = replace(
            parts,
            backend=made,
            begin=tuple(number[i] for i in parts.begin),
            end=tuple(number[i] for i in parts.end),
            pad=number[parts.pad],
            unknown=None if parts.unknown is None else number[parts.unknown],
        )
        origin = f"{self.origin}, trimmed to {len(kept)} of {self.vocab_size} ids"
        return Trimmed(type(self)(self.settings, new, origin), tuple(kept))

    def _normalised(self, text: str) -> str:
        """A text as the model of the backend splits it, and as it was before the normaliser."""
        prepared = self.prepare(whole(text))
        normalizer: Any = self._parts.backend.normalizer
        return prepared if normalizer is None else prepared + normalizer.normalize_str(prepared)

    @classmethod
    def make(cls, settings: TokenizerSettings, texts: Texts, vocab_size: int) -> Self:
        """Load ``settings.from_``, or train (see the contract)."""
        own = cast("S", settings)
        if own.from_ == "scratch":
            return cls._trained(own, texts, vocab_size, "")
        try:
            made = cls._loaded(own)
        except UnreachableError as error:
            if own.otherwise != "scratch":
                raise
            note = f"; {own.from_} was not reachable ({error.message})"
            return cls._trained(own, texts, vocab_size, note)
        if made.vocab_size > vocab_size:
            raise WeightsError(
                f"the vocabulary of {own.from_} has {made.vocab_size} ids, but the text encoder"
                f" has rows for {vocab_size}",
                hint=f"set the text encoder's `vocab_size: {made.vocab_size}`, or `from: scratch`",
            )
        return made

    @classmethod
    def _trained(cls, settings: S, texts: Texts, vocab_size: int, note: str) -> Self:
        parts, count = cls.learn(settings, texts(), vocab_size)
        return cls(settings, parts, f"trained on {count} queries{note}")

    @classmethod
    def _loaded(cls, settings: S) -> Self:
        try:
            if not settings.from_.startswith("artifact:"):
                return cls(settings, cls.read(settings), settings.from_)
            path = find_source(settings.from_, ["tokenizer.json"])["tokenizer.json"]
            made = cls.from_bytes(settings, read_bytes(path))
        except ArtifactError as error:
            raise WeightsError(f"{settings.from_}: {error.message}", hint=error.hint) from error
        made.origin = f"{settings.from_} ({made.origin})"
        return made

    def to_bytes(self) -> bytes:
        """JSON: kind, origin, marks, and the JSON of the library `tokenizers`."""
        parts = self._parts
        document = {
            "engine_tokenizer": FORMAT,
            "kind": self.name,
            "origin": self.origin,
            "begin": list(parts.begin),
            "end": list(parts.end),
            "pad": parts.pad,
            "unknown": parts.unknown,
            "extra": dict(parts.extra),
            "tokenizers": json.loads(parts.backend.to_str()),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, settings: TokenizerSettings, data: bytes) -> Self:
        """Restore what :meth:`to_bytes` gave (see the contract)."""
        try:
            document = parsed(data)
            kind, version = document["kind"], document["engine_tokenizer"]
            if (kind, version) != (cls.name, FORMAT):
                raise ArtifactError(
                    f"a tokenizer of the kind `{kind!s:.40}`, format {version!s:.40}, where the"
                    f" config says `{cls.name}` (format {FORMAT})"
                )
            parts = Parts(
                backend=backend_of(data, document, "tokenizers"),
                begin=_marks(document["begin"]),
                end=_marks(document["end"]),
                pad=_id(document["pad"]),
                unknown=None if document["unknown"] is None else _id(document["unknown"]),
                extra=dict(document["extra"]),
            )
            origin = document["origin"]
            if not isinstance(origin, str) or len(origin.encode()) > _LONGEST_ORIGIN:
                raise ValueError("its origin is not a short text")
            return cls(cast("S", settings), parts, origin)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(
                f"these bytes are not a `{cls.name}` tokenizer: {type(error).__name__}: {error}",
                hint="build the artifact again",
            ) from error

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text, marks included (see the contract).

        Raises:
            ValueError: ``max_tokens`` is below 1.
            WeightsError: the vocabulary's own patterns fail on a text.
        """
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}: a text has at least one token")
        rows: list[list[int]] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = [self.prepare(whole(text)) for text in texts[start : start + _CHUNK]]
            found = self._encoded(chunk)
            rows.extend(self._marked(encoding.ids, max_tokens) for encoding in found)
        return rows

    def _encoded(self, texts: list[str]) -> list[Any]:
        try:
            return guarded(
                lambda: self._parts.backend.encode_batch_fast(texts, add_special_tokens=False)
            )
        except ValueError as error:  # a pattern that cannot be matched in any reasonable time
            raise WeightsError(
                f"the tokenizer ({self.origin}) fails on a text: {error}",
                hint="Its vocabulary comes from a file that is damaged, or made to do harm.",
            ) from error

    def _marked(self, ids: list[int], max_tokens: int) -> list[int]:
        begin, end = self._parts.begin, self._parts.end
        room = max(0, max_tokens - len(end))
        row = [*begin, *ids][:room] + list(end)[-max_tokens:]
        if row:
            return row
        return [self.pad_id if self._parts.unknown is None else self._parts.unknown]


def whole(text: str) -> str:
    """The text with halves of surrogate pairs joined, and lone ones replaced by U+FFFD."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        WeightsError: it cannot be read, or has more than ``bounds.MAX_BYTES``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise WeightsError(f"{path} is not a vocabulary: it has more than {MAX_BYTES:,} bytes")
        return data
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def read_text(path: Path) -> str:
    """A file's text, UTF-8, line ends as ``\\n``.

    Raises:
        WeightsError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path} is not UTF-8 text: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        WeightsError: it is something else.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} is not a JSON object")
    return found


def read_ids(path: Path) -> dict[str, int]:
    """A JSON object from tokens to ids, such as ``vocab.json``.

    Raises:
        WeightsError: it is none.
    """
    try:
        ids = json.loads(read_text(path))
        return {str(token): _id(value) for token, value in ids.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a JSON object from tokens to ids: {error}") from error


def fill_holes(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The vocabulary with a name for every id below the largest, which no text can spell.

    The library writes a vocabulary as a list, and prints a warning for each id without a token.

    Raises:
        WeightsError: it has far more holes than tokens.
    """
    taken = set(vocabulary.values())
    if max(taken, default=0) > _MAX_HOLES * len(taken) + _FEW_IDS:
        raise WeightsError(
            f"a vocabulary of {len(taken):,} tokens with the id {max(taken):,}",
            hint="The file is damaged: the ids of a vocabulary follow each other.",
        )
    holes = (i for i in range(max(taken, default=-1) + 1) if i not in taken)
    return {**vocabulary, **{f" unused {i} ": i for i in holes}}


def _marks(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > _MAX_MARKS:
        raise ValueError("its marks are not a short list")
    return tuple(_id(value) for value in values)


def _id(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_IDS:
        raise ValueError(f"{value!r:.40} is not a token id")
    return value

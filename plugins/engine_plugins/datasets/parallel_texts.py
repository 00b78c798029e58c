"""Parallel texts: one row a pair (or more) of texts that mean the same in different languages.

Sources: TSV, JSON lines, parquet, and the two files of a Moses corpus (OPUS), a line each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.contracts import Dataset, Record
from engine.core.terminal import console
from engine.errors import DataError
from engine.printable import one_line
from engine_plugins.datasets.settings import ParallelTextsSettings

_READ = 1 << 16
_MISTAKES = 0.5
"""Share of rows that may be left out; a file of which more is bad is another file."""

Texts = tuple[str, ...]


@dataclass
class Counts:
    """What was left out, and why.

    Attributes:
        empty: rows with an empty text.
        long: rows with a line or a text of more than ``max_bytes``.
        malformed: rows with too few columns, or that are not JSON.
        repeated: rows that an earlier one equals.
        ambiguous: first texts that stand with different translations; they are kept.
    """

    empty: int = 0
    long: int = 0
    malformed: int = 0
    repeated: int = 0
    ambiguous: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Rows that are not used."""
        return self.empty + self.long + self.malformed + self.repeated

    def describe(self) -> str:
        """In words; empty where there is nothing to report."""
        parts = [
            (self.empty, "rows with an empty text left out"),
            (self.long, "rows with an overlong line left out"),
            (self.malformed, "malformed rows left out"),
            (self.repeated, "repeated rows left out"),
            (self.ambiguous, "texts have different translations and keep them all"),
        ]
        return ", ".join(f"{number:,} {what}" for number, what in parts if number)


class ParallelTexts(Dataset):
    """See :class:`ParallelTextsSettings`. The texts are held, the files are read line by line.

    Attributes:
        counts: what was left out.

    Raises:
        DataError: a file is missing, not in UTF-8 or of another format; the two files of a Moses
            corpus have different numbers of lines; more than half of the rows are bad, or all.
    """

    has_images = False

    def __init__(self, settings: ParallelTextsSettings) -> None:
        self.settings, self.counts = settings, Counts()
        self.name = settings.path.name
        self._rows: list[Texts] = []
        seen: set[bytes] = set()
        first: dict[bytes, bytes] = {}
        total = 0
        for row in _rows(settings, self.counts):
            total += 1
            if row is None:
                continue
            texts = tuple(" ".join(text.split()) for text in row)
            if not all(texts):
                self.counts.empty += 1
                continue
            if any(len(text.encode("utf-8", "surrogatepass")) > settings.max_bytes
                   for text in texts):  # fmt: skip
                self.counts.long += 1
                continue
            whole, own = _digest(texts), _digest(texts[:1])
            if whole in seen:
                self.counts.repeated += 1
                continue
            seen.add(whole)
            if first.setdefault(own, whole) != whole:
                self.counts.ambiguous += 1
            self._rows.append(texts)
            if settings.count is not None and len(self._rows) == settings.count:
                break
        bad = self.counts.empty + self.counts.long + self.counts.malformed
        if not self._rows or bad > _MISTAKES * total:
            raise DataError(
                f"{settings.path}: {len(self._rows):,} of {total:,} rows can be used"
                f" ({self.counts.describe() or 'there are none'})",
                hint="check `format`, `columns` and `languages`",
            )
        if words := self.counts.describe():
            console(stderr=True).print(f"{self.name}: {words}", markup=False)

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        if not 0 <= index < len(self._rows):
            raise IndexError(index)
        return Record(str(index), self._rows[index], languages=tuple(self.settings.languages))


def _digest(texts: Texts) -> bytes:
    digest = hashlib.blake2b(digest_size=12)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()


def _rows(settings: ParallelTextsSettings, counts: Counts) -> Iterator[Sequence[str] | None]:
    """The rows of the source; ``None`` for one that is counted already."""
    kind = settings.kind()
    if kind == "moses":
        yield from _moses(settings, counts)
    elif kind == "parquet":
        yield from _parquet(settings, counts)
    else:
        read = _tsv if kind == "tsv" else _jsonl
        for line in _lines(settings.path, settings.max_bytes, counts):
            found = None if line is None else read(line, settings)
            if line is not None and found is None:
                counts.malformed += 1
            yield found


def _tsv(line: str, settings: ParallelTextsSettings) -> Sequence[str] | None:
    parts = line.split("\t")
    places = settings.places()
    return [parts[place] for place in places] if len(parts) > max(places) else None


def _jsonl(line: str, settings: ParallelTextsSettings) -> Sequence[str] | None:
    try:
        value = json.loads(line)
        # OPUS and transformers put the texts below `translation`.
        value = value.get("translation", value)
        found = [value[column] for column in settings.names()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if all(isinstance(text, str) for text in found) else None


def _moses(settings: ParallelTextsSettings, counts: Counts) -> Iterator[Sequence[str] | None]:
    """Files of a line each, ``NAME.en-ru.ru`` and ``NAME.en-ru.en`` for example."""
    own = [settings.path.with_name(f"{settings.path.name}.{one}") for one in settings.languages]
    files = [_lines(path, settings.max_bytes, counts) for path in own]
    while True:
        lines = [next(file, _END) for file in files]
        ended = [line is _END for line in lines]
        if all(ended):
            return
        if any(ended):
            short, long = own[ended.index(True)], own[ended.index(False)]
            raise DataError(
                f"{short} has fewer lines than {long}: line i of one is not the translation of"
                " line i of the other",
                hint="take both files of the corpus as they were downloaded, not filtered alone",
            )
        yield None if any(line is None for line in lines) else [str(line) for line in lines]


_END: Any = object()


def _parquet(settings: ParallelTextsSettings, counts: Counts) -> Iterator[Sequence[str] | None]:
    import pyarrow
    from pyarrow import parquet

    names = settings.names()
    try:
        with parquet.ParquetFile(settings.path) as file:
            missing = [name for name in names if name not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{settings.path} has no column `{one_line(missing[0])}` (it has"
                    f" {', '.join(map(one_line, file.schema_arrow.names[:20]))})"
                )
            for batch in file.iter_batches(4096, columns=list(names)):
                for values in zip(*(batch.column(n).to_pylist() for n in names), strict=True):
                    right = all(isinstance(value, str) for value in values)
                    counts.malformed += not right
                    yield list(values) if right else None
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{settings.path} cannot be read as parquet: {error}") from error


def _lines(path: Path, most: int, counts: Counts) -> Iterator[str | None]:
    """The lines of a file, ``None`` for an overlong one, of which nothing more is held.

    Raises:
        DataError: it cannot be read, or a line is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(most + 2):
                number += 1
                if not line.endswith(b"\n") and len(line) > most:
                    while (rest := file.readline(_READ)) and not rest.endswith(b"\n"):
                        pass
                    counts.long += 1
                    yield None
                    continue
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}, line {number:,}: not UTF-8 ({error.reason})",
                        hint=f"convert it, such as `iconv -f WINDOWS-1251 -t UTF-8 {path.name}`",
                    ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error

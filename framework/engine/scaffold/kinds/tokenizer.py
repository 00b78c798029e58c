"""A tokenizer to begin with."""

from __future__ import annotations

from engine.scaffold.kind import TEXT, PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import TokenizerSettings
from pydantic import Field


class ${class_name}Settings(TokenizerSettings):
    """$title."""

    lower: bool = Field(True, description="lower case first")
'''

PLUGIN = '''\
"""`$name`: texts become token ids.

Its contract: engine/contracts/tokenizer.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from engine.contracts import Texts, Tokenizer
from engine.core.sources import UnreachableError, find_source
from engine.errors import ArtifactError

from .settings import ${class_name}Settings

PAD, UNKNOWN, END = range(3)


class $class_name(Tokenizer):
    """$title."""

    pad_id = PAD

    def __init__(self, settings: ${class_name}Settings, words: Sequence[str], origin: str) -> None:
        self.settings, self.words, self.origin = settings, list(words), origin
        self.ids = {word: number for number, word in enumerate(words, start=END + 1)}
        self.vocab_size = END + 1 + len(words)

    @classmethod
    def make(cls, settings: ${class_name}Settings, texts: Texts, vocab_size: int) -> $class_name:
        """The vocabulary of `from:`, or the most frequent words of the training queries."""
        if settings.from_ != "scratch":
            try:
                file = find_source(settings.from_, ["tokenizer.json"])["tokenizer.json"]
                return cls.from_bytes(settings, file.read_bytes())
            except UnreachableError:
                if settings.otherwise != "scratch":
                    raise
        counts: Counter[str] = Counter()
        number = 0
        for text in texts():
            counts.update(split(text, settings))
            number += 1
        words = [word for word, _ in counts.most_common(max(0, vocab_size - END - 1))]
        return cls(settings, words, f"trained on {number} queries")

    @classmethod
    def from_bytes(cls, settings: ${class_name}Settings, data: bytes) -> $class_name:
        """Restore what to_bytes gave; the bytes may come from anybody."""
        try:
            document = json.loads(data)
            words, origin = document["words"], document["origin"]
            if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
                raise TypeError("`words` is not a list of texts")
            return cls(settings, words, str(origin))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(f"not a `$name` tokenizer: {error}") from error

    def to_bytes(self) -> bytes:
        """Everything that from_bytes needs, as JSON. Never a pickle."""
        return json.dumps({"words": self.words, "origin": self.origin}).encode()

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text and the end mark, which a long text keeps too."""
        rows = []
        for text in texts:
            ids = [self.ids.get(word, UNKNOWN) for word in split(text, self.settings)]
            rows.append([*ids[: max_tokens - 1], END])
        return rows


def split(text: str, settings: ${class_name}Settings) -> list[str]:
    """The words of a text."""
    return (text.lower() if settings.lower else text).split()
'''

PACKAGE = PackageKind(
    file="tokenizer",
    contract="Tokenizer",
    contract_module="engine.contracts.tokenizer",
    summary="an id for each of the most frequent words",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"text": TEXT % "{use: $name}"},
)

"""Tokenizers: from texts to token ids. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from engine.contracts.description import Description, Difference, Table, compare
from engine.contracts.settings import PluginField, PluginRef, Settings
from engine.contracts.values import SourceName
from engine.errors import PluginError

Texts = Callable[[], Iterable[str]]
"""Gives the training texts again at each call; raises DataError where the config names none."""


class TokenizerSettings(Settings):
    """Base of every tokenizer's settings."""

    from_: SourceName = Field(
        "scratch",
        alias="from",
        description="where the vocabulary comes from; scratch: trained on the config's own queries",
    )
    otherwise: Literal["scratch"] | None = Field(
        None,
        description="`scratch`: where the vocabulary cannot be reached, train one on the queries of"
        " data.train",
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """The settings under which the tokenizer gives the ids of another program's.

        ``engine import SOURCE`` asks every installed tokenizer (see ``contracts/proposal.py``).

        Args:
            found: what lies beside the vocabulary: ``tokenizer_config.json`` (program
                ``"transformers"``, ``kind`` is its class without ``Fast``), ``tokenizer.json``
                (program ``"tokenizers"``), open_clip's ``text_cfg`` (program ``"open_clip"``).

        Returns:
            Settings as a config would write them, without ``use`` and ``from`` (where ``from`` is
            among them, it is taken); ``None`` for a tokenizer of another sort.

        Raises:
            ValueError: it is of this sort and cannot be represented; names the setting.
        """
        return None


class Tokenizer(ABC):
    """Texts to token ids, marks of beginning and end included.

    Attributes:
        pad_id: the id that fills a row up; masked, so any id does.
        vocab_size: one more than the largest id it can give.
        origin: where the vocabulary came from, in words, for the artifact
            (``"hf:..."``, ``"trained on 5120 queries"``).
    """

    pad_id: int
    vocab_size: int
    origin: str

    described: ClassVar[tuple[Table, ...]] = ()
    """What it does in the place of other programs' settings (``contracts/description.py``)."""

    def described_by(self, description: Description) -> list[Difference]:
        """What a file beside a vocabulary says, and this tokenizer does not do.

        Engine calls it for ``tokenizer_config.json``, ``special_tokens_map.json`` and others that
        lie beside the vocabulary, or beside weights that are imported. A difference that gives a
        text other ids is refused (lower case, accents, marks); others are shown as warnings. By
        default the tables in :attr:`described` answer.

        Args:
            description: one file.
        """
        return compare(self, self.described, description)

    @classmethod
    @abstractmethod
    def make(cls, settings: Any, texts: Texts, vocab_size: int) -> Tokenizer:
        """Load the vocabulary from ``settings.from_``, or train one on ``texts()``.

        Args:
            settings: the plugin's settings, an instance of its own class (so annotate it with it).
            texts: the queries of the config's training data; called only to train.
            vocab_size: the most ids that the text encoder has rows for.

        Raises:
            WeightsError: the source cannot be reached or read, and ``otherwise`` is not set.
        """

    @classmethod
    @abstractmethod
    def from_bytes(cls, settings: Any, data: bytes) -> Tokenizer:
        """Restore what :meth:`to_bytes` gave (an artifact's ``tokenizer.json``).

        Raises:
            ArtifactError: the bytes are not this tokenizer's.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Everything needed to restore it, as JSON text in UTF-8. Never a pickle."""

    @abstractmethod
    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """One list of ids for each text, at least 1 and at most ``max_tokens`` long, not padded.

        A text that is too long loses its end, but never its end mark. Any ``str`` is a text: the
        empty one, white space, null characters, lone halves of surrogate pairs, 100,000 letters. A
        text's ids do not depend on the other texts.
        """

    def pieces(self) -> Mapping[int, str]:
        """The ids that words are made of, and how the vocabulary spells them (``##ing``, ``▁кот``).

        Marks are left out, which stand for no text; the ids of padding and of what is unknown are
        there. By default a tokenizer cannot tell (one that hashes has no vocabulary).

        Raises:
            PluginError: this tokenizer has no vocabulary.
        """
        raise PluginError(
            f"the tokenizer {type(self).__name__} names no pieces",
            hint="use a tokenizer that has a vocabulary of pieces",
        )

    def trimmed(self, letters: Collection[str], texts: Iterable[str] = ()) -> Trimmed:
        """A tokenizer with fewer ids, for models that need not read every script.

        Texts of these characters alone, and the given texts, get the same tokens as before, under
        new numbers: ``[kept[i] for i in new]`` equals the old ids. What counts is the text after
        the tokenizer's own cleaning (a tokenizer that turns ``&alpha;`` into a Greek letter needs
        that letter). Other texts are still encoded, with more tokens or with the unknown one.
        Marks, single bytes and ASCII stay. By default a tokenizer cannot do this.

        Args:
            letters: single characters; may be empty where texts are given.
            texts: texts whose tokens are kept too.

        Raises:
            PluginError: this tokenizer cannot be trimmed.
        """
        raise PluginError(
            f"the tokenizer {type(self).__name__} cannot be trimmed",
            hint="it does not have the method `trimmed` of its contract",
        )


class Trimmed(NamedTuple):
    """A tokenizer with fewer ids.

    Attributes:
        tokenizer: the new one.
        kept: the old id of each new id, ascending.
    """

    tokenizer: Tokenizer
    kept: tuple[int, ...]


TokenizerRef = Annotated[PluginRef[TokenizerSettings, Tokenizer], PluginField("tokenizer")]
"""A tokenizer chosen in a config; not in ``refs.py``, because text encoders' settings hold one."""

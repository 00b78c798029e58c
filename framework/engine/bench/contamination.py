"""What training saw of the data that a model is evaluated on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.bench.datasets import leaves
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef, Settings
from engine.core.config.schema import EngineConfig
from engine.errors import EngineError

MAX_COMPARED = 20_000
"""Training pictures that are looked at, one by one; of more, only settings are compared."""

_APART = frozenset({"split", "count", "seed"})
"""Settings that choose other pictures of the same source."""


@dataclass(frozen=True)
class Seen:
    """What is known of it.

    Attributes:
        images: the very images were trained on, in words; empty: not as far as is known.
        note: what else a reader should know; may be empty.
    """

    images: str = ""
    note: str = ""


@dataclass(frozen=True)
class KnownNames:
    """Class names that a model met in training, without a picture of the data set.

    Attributes:
        texts: those among the training texts.
        classifier: those that a classifier was trained on whose head the model was fitted on; the
            training texts' translations of the name count, too.
        head: what that classifier is called; empty where there is none.
        classes: classes of that head.
    """

    texts: frozenset[str] = frozenset()
    classifier: frozenset[str] = frozenset()
    head: str = ""
    classes: int = 0

    def note(self, count: int) -> str:
        """In words; empty where nothing is known.

        Args:
            count: classes of the data set.
        """
        found = []
        if self.head:
            found.append(f"{self.head} contain {len(self.classifier)} of these {count} class names")
        if self.texts:
            found.append(f"{len(self.texts)} of {count} class names are among the training texts")
        return "; ".join(found)


def known_names(config: EngineConfig, names: Iterable[str]) -> KnownNames:
    """Which class names a model met: in its training texts, and in a classifier's head.

    Only data sets without images are looked through; of others the pictures say more.
    """
    wanted = {name: _plain(name) for name in names}
    known: dict[str, set[str]] = {plain: {plain} for plain in wanted.values()}
    texts = _texts(config, known)
    for head in _heads(config.model):
        if not head.classes:
            continue
        own = {_plain(part) for name in head.classes for part in name.split(",")}
        own |= {name.rpartition(" ")[2] for name in own}  # a kind of it: `african elephant`
        met = frozenset(name for name, plain in wanted.items() if known[plain] & own)
        return KnownNames(
            frozenset(n for n, plain in wanted.items() if plain in texts), met, head.name,
            len(head.classes),
        )  # fmt: skip
    return KnownNames(frozenset(n for n, plain in wanted.items() if plain in texts))


def _texts(config: EngineConfig, known: dict[str, set[str]]) -> set[str]:
    """The names that are a training text; their translations are added to ``known``."""
    found: set[str] = set()
    dataset = _opened(config.data.train)
    if dataset is None or dataset.has_images:
        return found
    for index in range(len(dataset)):
        plain = [_plain(text) for text in dataset.record(index).queries]
        for name in known.keys() & set(plain):
            known[name].update(plain)
            found.add(name)
    return found


def _heads(value: object) -> Iterator[Dataset]:
    """The data sets with activations that parts of a model were fitted on."""
    if isinstance(value, PluginRef):
        dataset = _opened(value) if value.kind == "dataset" else None
        if dataset is not None and dataset.activations is not None:
            yield dataset
        else:
            yield from _heads(value.settings)
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            yield from _heads(getattr(value, name))


def _opened(use: PluginRef | None) -> Dataset | None:
    """A data set; ``None`` where it is not on this machine."""
    try:
        return None if use is None else use.create()
    except EngineError:
        return None


def _plain(text: str) -> str:
    return " ".join(text.split()).lower().replace("ё", "е")


class Training:
    """The data set that a model was trained on."""

    def __init__(self, use: PluginRef | None, config: EngineConfig | None = None) -> None:
        self._use, self._config = use, config
        self._digests: frozenset[bytes] | str | None = None

    def seen(self, use: PluginRef, dataset: Dataset) -> Seen:
        """What training saw of a data set.

        Args:
            use: its plugin and settings.
            dataset: the same, open.
        """
        if self._use is None:
            return Seen()
        parts = leaves(self._use)
        if any(part == use for part in parts):
            return Seen("trained on these very images")
        note = self._names(dataset)
        if any(_same_source(part, use) for part in parts):
            same = "trained on another part of the same data set"
            note = f"{note}; {same}" if note else same
        ours = self._pictures()
        if isinstance(ours, str):
            return Seen("", f"{note}; {ours}" if note else ours)
        found = sum(each in ours for each in _digests(dataset, range(len(dataset))))
        if found:
            return Seen(f"{found:,} of {len(dataset):,} images were trained on", note)
        return Seen("", note)

    def _names(self, dataset: Dataset) -> str:
        if self._config is None or not dataset.classes:
            return ""
        return known_names(self._config, dataset.classes).note(len(dataset.classes))

    def _pictures(self) -> frozenset[bytes] | str:
        """Digests of the training pictures, or why there are none."""
        if self._digests is None:
            self._digests = self._looked_at()
        return self._digests

    def _looked_at(self) -> frozenset[bytes] | str:
        assert self._use is not None
        try:
            dataset: Dataset = self._use.create()
        except EngineError:  # an artifact's need not be on this machine
            return "its training images are not here to be compared"
        if not dataset.has_images or dataset.activations is not None:
            return frozenset()
        if len(dataset) > MAX_COMPARED:
            return f"training images not compared one by one (more than {MAX_COMPARED:,})"
        return frozenset(_digests(dataset, range(len(dataset))))


def _same_source(a: PluginRef, b: PluginRef) -> bool:
    if a.name != b.name:
        return False
    one, other = a.to_config(), b.to_config()
    paths = {k for k in one if k in ("path", "folder") and one[k] != other.get(k)}
    differs = {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}
    return not paths and (differs <= _APART or "split" in one)


def _digests(dataset: Dataset, rows: Iterable[int]) -> Iterable[bytes]:
    for row in rows:
        try:
            image = dataset.image(row)
        except Exception:  # a broken picture, or a third party's reader: nothing was learned of it
            continue
        size = f"{image.width}x{image.height}".encode()
        yield hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()

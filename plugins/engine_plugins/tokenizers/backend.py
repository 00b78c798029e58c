"""The library `tokenizers` called on foreign input: its JSON parsed, its failures made plain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tokenizers import Tokenizer as Backend

from engine.core.collections_paused import without_collections
from engine.errors import WeightsError
from engine_plugins.tokenizers.bounds import check_steps

T = TypeVar("T")


def parsed(data: bytes) -> Any:
    """The value of JSON in UTF-8: a vocabulary of some hundred thousand entries in one go.

    Raises:
        ValueError: it is not.
        RecursionError: it is nested too deeply.
    """
    with without_collections():
        return json.loads(data.decode())


def parse_backend(text: str) -> Backend:
    """Parse the JSON of the library `tokenizers`.

    Raises:
        ValueError: it is not, or it asks for work without measure (``engine_plugins.tokenizers``'
            ``bounds``).
    """
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    return _checked(document, text)


def backend_of(data: bytes, whole: Mapping[str, Any], key: str) -> Backend:
    """:func:`parse_backend` of the last value of a JSON object.

    Args:
        data: the object in UTF-8, as a tokenizer's ``to_bytes`` writes it.
        whole: the same, parsed.
        key: of the value.

    Raises:
        KeyError: there is no such key.
        ValueError: see :func:`parse_backend`.
    """
    document = whole[key]
    with without_collections():
        text = _last_value(data, whole, key)
        return _checked(document, text or json.dumps(document, ensure_ascii=False))


def _last_value(data: bytes, whole: Mapping[str, Any], key: str) -> str | None:
    """The JSON of an object's last value as it stands there; ``None`` where that is not certain.

    Writing a vocabulary of 200,000 entries out again takes as long as mapping 400 MB of weights.
    """
    name = f',"{key}":'.encode()
    place = data.find(name)
    if place < 0 or not data.endswith(b"}"):
        return None
    try:
        head = json.loads(data[:place] + b"}")
    except ValueError:  # the first such name is another one's, deeper inside
        return None
    alone = head == {name: value for name, value in whole.items() if name != key}
    return data[place + len(name) : -1].decode() if alone and key not in head else None


def _checked(document: Any, text: str) -> Backend:
    try:
        check_steps(document)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    return guarded(lambda: Backend.from_str(text))


def guarded(call: Callable[[], T]) -> T:
    """Call the library.

    Raises:
        ValueError: it failed, in whatever way.
    """
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exception, and panics on some input
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"not understood by the library `tokenizers`: {reason:.200}") from error


def build_model(source: str, call: Callable[[], T]) -> T:
    """Call a constructor of `tokenizers.models`, which checks that merges and vocabulary agree.

    Raises:
        WeightsError: they do not.
    """
    try:
        return guarded(call)
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from error

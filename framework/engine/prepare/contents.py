"""What training data hold, as digests: a run goes on only with the data that it began with.

Pictures are not read for this: their ids stand for them.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCKS = 256
"""Digests are kept of so many blocks of rows, so that an error can say where data changed."""

_BYTES = 8


class Contents:
    """The ids and texts of a data set, row by row, 16 bytes a row.

    Args:
        ids: [rows] uint64, :func:`number_of` each row's id.
        texts: [rows] uint64, of its texts in order.
    """

    def __init__(
        self, ids: NDArray[np.uint64] | None = None, texts: NDArray[np.uint64] | None = None
    ) -> None:
        self._ids: Any = array("Q") if ids is None else ids
        self._texts: Any = array("Q") if texts is None else texts
        self._summary: dict[str, Any] | None = None

    def add(self, id: str, texts: Sequence[str]) -> None:
        """Take in the next row: its id, and its texts in order."""
        self._ids.append(number_of([id]))
        self._texts.append(number_of(texts))
        self._summary = None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def _block(self) -> int:
        """Rows of a block."""
        return max(1, -(-len(self) // _BLOCKS))

    def summary(self) -> dict[str, Any]:
        """Rows, and the digest of the ids and of the texts of each block; JSON types."""
        if self._summary is None:  # every checkpoint asks for it
            starts = range(0, len(self), self._block)
            self._summary = {
                "rows": len(self),
                **{
                    name: [_digest(values[i : i + self._block]) for i in starts]
                    for name, values in (("ids", self._ids), ("texts", self._texts))
                },
            }
        return self._summary

    def change(self, then: Mapping[str, Any] | None, name_of: Callable[[int], str]) -> str | None:
        """What is different from an earlier summary, in words; ``None`` where nothing is.

        Args:
            then: the earlier :meth:`summary`; ``None`` where none was kept.
            name_of: gives the id that a row has now.
        """
        if then is None:
            return "nothing was written down of what they were"
        now = self.summary()
        if then["rows"] != now["rows"]:
            return f"there were {then['rows']:,} rows, and now there are {now['rows']:,}"
        for what, words in (
            ("ids", "other ids, or the same ones in another order"),
            ("texts", "other texts"),
        ):
            pairs = zip(then[what], now[what], strict=True)
            changed = [number for number, (a, b) in enumerate(pairs) if a != b]
            if changed:
                return f"{self._rows(changed[0], name_of)} {words}{_more(len(changed) - 1)}"
        return None

    def _rows(self, block: int, name_of: Callable[[int], str]) -> str:
        first = block * self._block
        last = min(first + self._block, len(self)) - 1
        if first == last:
            return f"row {first:,} (now `{name_of(first)}`) has"
        return f"rows {first:,} to {last:,} (now `{name_of(first)}` to `{name_of(last)}`) have"


def _more(blocks: int) -> str:
    if not blocks:
        return ""
    return f", and so have later rows, in {blocks} place{'s' if blocks > 1 else ''}"


def number_of(texts: Sequence[str]) -> int:
    """64 bits that name some texts in order."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    for text in texts:
        plain = text.encode("utf-8", errors="surrogatepass")
        digest.update(len(plain).to_bytes(_BYTES, "big"))
        digest.update(plain)
    return int.from_bytes(digest.digest(), "big")


def _digest(values: Any) -> str:
    whole = np.asarray(values, dtype=np.uint64).astype(">u8").tobytes()
    return hashlib.blake2b(whole, digest_size=_BYTES).hexdigest()

"""``pq``: product quantisation of an embedding table.

A row is cut into vectors of some numbers each; every place has a codebook of at most 256 vectors,
and a row keeps one byte for each place. Source: Jegou, Douze and Schmid, 2011,
doi:10.1109/TPAMI.2010.57; the codebooks are learned by faiss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from engine.contracts.storage import Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine_plugins.storage.groups import LARGEST_SCALE, blocks
from engine_plugins.storage.settings import PqSettings

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np

_CODES = 256
_SEED = 1234
_ROUNDS, _POINTS = 10, 64  # of k-means: rounds, and rows for each vector of a codebook


class Pq(Storage):
    """``row = [codebook[0, code[0]], codebook[1, code[1]], ...]``, codebooks in float16.

    A table whose places have at most 256 different vectors each loses nothing but float16's
    rounding; what is decoded and encoded again gives the same bytes. The codebooks are learned by
    one thread from a fixed seed: the same machine gives the same bytes, another processor may round
    a sum of the learning in another way.
    """

    settings: PqSettings
    learned: ClassVar[bool] = True

    def fits(self, shape: Shape) -> bool:
        """Matrices whose rows can be cut evenly."""
        return len(shape) == 2 and min(shape) > 0 and shape[1] % self.settings.width == 0

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """Codes U8 [rows, places], codebooks F16 [places, codes, width]."""
        places = shape[1] // self.settings.width
        book = (places, min(_CODES, shape[0]), self.settings.width)
        return {
            "": StoredTensor("U8", (shape[0], places)),
            ".codebook": StoredTensor("F16", book),
        }

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Codes and codebooks.

        Raises:
            WeightsError: a number is too large for float16.
        """
        if np.abs(array).max(initial=0) > LARGEST_SCALE:
            raise WeightsError(f"holds numbers up to {LARGEST_SCALE:,.0f}")
        plan, width = self.plan(array.shape), self.settings.width
        codes = np.empty(plan[""].shape, np.uint8)
        books = np.zeros(plan[".codebook"].shape, np.float16)
        for place in range(codes.shape[1]):
            part = np.ascontiguousarray(array[:, place * width : (place + 1) * width], np.float32)
            book, codes[:, place] = _canonical(part, _codebook(part, books.shape[1]))
            books[place, : len(book)] = book
        return {"": StoredArray("U8", codes), ".codebook": StoredArray("F16", books)}

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The vectors of the codes."""
        found = np.empty(shape, np.float32)
        for block in blocks(*shape):
            found[block] = self.decode_rows(parts, shape, np.arange(block.start, block.stop))
        return found

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        codes, books = parts[""].array[rows], parts[".codebook"].array
        # A file may hold any byte; a code that no codebook has is the last one.
        safe = np.minimum(codes, books.shape[1] - 1)
        found = books[np.arange(codes.shape[1]), safe]
        whole: np.ndarray = found.astype(np.float32).reshape(len(rows), shape[1])
        return whole


def _codebook(part: np.ndarray, count: int) -> np.ndarray:
    """[N, width] -> float32 [C, width], C at most ``count``: the vectors themselves, or means."""
    rounded = part.astype(np.float16)
    few = np.unique(rounded[: 8 * count], axis=0)
    if len(few) <= count:  # else there are too many in all of it
        few = np.unique(rounded, axis=0)
    if len(few) <= count:
        return few.astype(np.float32)
    return _learned(part, count)


def _learned(part: np.ndarray, count: int) -> np.ndarray:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the order of sums, and with it the bytes, depends on them
    try:
        kmeans = faiss.Kmeans(
            part.shape[1],
            count,
            niter=_ROUNDS,
            seed=_SEED,
            min_points_per_centroid=1,
            max_points_per_centroid=_POINTS,
        )
        kmeans.train(part)
    finally:
        faiss.omp_set_num_threads(threads)
    assert kmeans.centroids is not None
    return kmeans.centroids


def _canonical(part: np.ndarray, book: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codebook in float16, sorted, without what no row uses, and each row's nearest code."""
    import faiss

    rounded = np.unique(book.astype(np.float16) + np.float16(0), axis=0)  # -0 becomes 0
    index = faiss.IndexFlatL2(part.shape[1])
    index.add(rounded.astype(np.float32))
    _, nearest = index.search(part, 1)
    used, codes = np.unique(nearest[:, 0], return_inverse=True)
    return rounded[used], codes.astype(np.uint8)

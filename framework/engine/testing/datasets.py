"""What datasets promise."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from engine.contracts.dataset import ActivationPoint, Record
from engine.errors import BrokenImageError
from engine.testing.common import call, must_raise, shorten
from engine.testing.core import NotApplicable, describe, fault, rule
from engine.testing.subject import Subject

_DATASET = "engine.contracts.dataset.Dataset"
_FEW, _MANY = 16, 2_000


class DatasetSubject(Subject):
    """A dataset."""

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    @cached_property
    def dataset(self) -> Any:
        """One."""
        return self.make()

    @property
    def rows(self) -> list[int]:
        """Rows to read with their images, spread over all."""
        count, few = len(self.dataset), self.hints.get("rows", _FEW)
        return sorted({round(i * (count - 1) / max(1, few - 1)) for i in range(few)})


SUBJECT = DatasetSubject


def _read(dataset: Any, row: int) -> tuple[Any, str]:
    """A row's record, and a digest of its image or vector (or that it is broken)."""
    if dataset.activations is not None:
        vector = dataset.activation(row)
        return dataset.record(row), hashlib.sha256(vector.tobytes()).hexdigest()
    if not dataset.has_images:
        return dataset.record(row), "no image"
    try:
        image = dataset.image(row)
    except BrokenImageError:
        return dataset.record(row), "broken"
    return dataset.record(row), hashlib.sha256(image.tobytes()).hexdigest()


@rule(
    contract=_DATASET,
    says="A sequence of records, each with its image.",
    why="Engine makes every data set as Class(settings) and asks for its rows by number.",
    needs=("settings_valid",),
)
def opens(it: DatasetSubject) -> None:
    """It is made; it has a name, classes, at least one row."""
    found = call(lambda: it.dataset, expected=f"{it.target.__name__}(settings) to give a data set")
    if not isinstance(getattr(found, "name", None), str) or not found.name:
        fault("`name`, a text for tables", repr(getattr(found, "name", None)))
    if not isinstance(found.classes, tuple) or not all(isinstance(c, str) for c in found.classes):
        fault("`classes`, a tuple of texts (empty where there are none)", shorten(found.classes))
    if len(set(found.classes)) != len(found.classes):
        fault("different classes", "a class comes twice",
              "Two equal names cannot be distinguished by any model.")  # fmt: skip
    count = call(len, found, expected="len(dataset) to give the number of images")
    if count < 1:
        fault(
            "at least one row to check with",
            "len(dataset) is 0",
            "Give settings that lead to a few rows: files that your test writes, say.",
        )


@rule(
    contract="engine.contracts.dataset.Record",
    says="One image's row.",
    why="Training draws a row's texts from it, evaluation compares with its label.",
    needs=("opens",),
)
def records(it: DatasetSubject) -> None:
    """Records with an id, texts, and a label that is a class."""
    classes = it.dataset.classes
    for row in range(min(len(it.dataset), _MANY)):
        found = call(it.dataset.record, row, expected=f"record({row}) to give a row")
        if not isinstance(found, Record):
            fault("an engine.contracts.Record", f"record({row}) is {shorten(found)}")
        if not isinstance(found.id, str) or not found.id:
            fault("an id, a text that is not empty", f"record({row}).id is {found.id!r}")
        texts = found.queries
        if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
            fault("queries, a tuple of texts", f"record({row}).queries is {shorten(texts)}")
        label = found.label
        if found.languages and len(found.languages) != len(texts):
            fault("a language for each query, or none at all", f"record({row}).languages is"
                  f" {shorten(found.languages)}")  # fmt: skip
        weights = found.text_weights
        if weights and (len(weights) != len(texts) or min(weights) <= 0):
            fault("a weight above 0 for each query, or none at all", f"record({row}).text_weights"
                  f" is {shorten(weights)}")  # fmt: skip
        if label is not None and (not isinstance(label, int) or not 0 <= label < len(classes)):
            fault(f"a label from 0 to {len(classes) - 1} (there are {len(classes)} classes), or"
                  " None", f"record({row}).label is {label!r}")  # fmt: skip


@rule(
    contract=_DATASET,
    says="What took long to find out when the data set was opened, as arrays without objects.",
    why="`engine data prepare` keeps the arrays, and training opens the data set with them.",
    needs=("records",),
)
def opens_from_its_index(it: DatasetSubject) -> None:
    """from_index(settings, index()) has the same rows, with arrays that cannot be written to."""
    import numpy as np

    arrays = call(it.dataset.index, expected="index() to give arrays by name")
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray) or array.dtype.hasobject:
            fault("arrays of numbers by name", f"index()[{name!r}] is {shorten(array)}")
    kept = {name: np.array(array) for name, array in arrays.items()}
    for array in kept.values():
        array.flags.writeable = False
    made = call(it.target.from_index, it.settings, kept, expected="from_index to open the data set")
    if len(made) != len(it.dataset):
        fault(f"{len(it.dataset)} rows, as without the index", f"{len(made)} rows")
    for row in it.rows:
        if _read(made, row) != _read(it.dataset, row):
            fault(f"row {row} as without the index", "another row")
    if it.target.fingerprint(it.settings) != it.target.fingerprint(it.settings):
        fault("one fingerprint for the same data", "another one at the second call")


@rule(
    contract="engine.contracts.dataset.Record",
    says="No two rows of a data set have one id.",
    why="Predictions go by the id: one of two rows would be lost.",
    needs=("records",),
)
def ids_unique(it: DatasetSubject) -> None:
    """Every row has an id of its own."""
    first: dict[str, int] = {}
    for row in range(min(len(it.dataset), _MANY)):
        name = it.dataset.record(row).id
        if name in first:
            fault("an id of its own for every row", f"rows {first[name]} and {row} are {name!r}")
        first[name] = row


@rule(
    contract=f"{_DATASET}.image",
    says="The image of row ``index``, decoded whole, RGB.",
    why="The transform takes RGB; an image that is decoded later fails where nobody expects it, or"
    " keeps its file open.",
    needs=("opens",),
)
def images(it: DatasetSubject) -> None:
    """RGB pictures; a broken one is a BrokenImageError and not every one is."""
    from PIL import Image

    if it.dataset.activations is not None or not it.dataset.has_images:
        raise NotApplicable("its rows have no images")
    broken: list[str] = []
    for row in it.rows:
        try:
            found = it.dataset.image(row)
        except BrokenImageError as error:
            broken.append(str(error))
            continue
        except Exception as error:
            fault("an image, or a BrokenImageError that says which and why",
                  f"image({row}): {describe(error)}")  # fmt: skip
        if not isinstance(found, Image.Image):
            fault("a PIL image", f"image({row}) is {shorten(found)}")
        if found.mode != "RGB":
            fault("RGB", f"image({row}) is of mode {found.mode}: .convert('RGB'), or read it by"
                  " engine.data.pictures.open_image")  # fmt: skip
        if not min(found.size):
            fault("a picture of some pixels", f"image({row}) is of size {found.size}")
        if getattr(found, "fp", None) is not None:
            fault("a picture that is decoded whole", f"image({row}) still holds its file: .load()")
    if len(broken) == len(it.rows):
        fault("some image that is whole", f"all {len(broken)} are broken: {broken[0]}")


@rule(
    contract=f"{_DATASET}.activation",
    says="The vector of row ``index``, [activations.width] float32, every number finite.",
    why="It goes into the projection as if the tower had given it.",
    needs=("opens",),
)
def activations(it: DatasetSubject) -> None:
    """Vectors of the width that the data set says, where it has any."""
    import numpy as np

    point = it.dataset.activations
    if point is None:
        raise NotApplicable("its rows have no activations")
    if not isinstance(point, ActivationPoint):
        fault("`activations`, an engine.contracts.ActivationPoint", repr(point))
    for row in it.rows:
        found = call(it.dataset.activation, row, expected=f"activation({row}) to give a vector")
        if not isinstance(found, np.ndarray) or found.shape != (point.width,):
            fault(f"an array of {point.width} numbers", f"activation({row}) is {shorten(found)}")
        if found.dtype != np.float32 or not np.isfinite(found).all():
            fault("finite float32", f"activation({row}) is {found.dtype}, or is not finite")


@rule(
    contract=_DATASET,
    says="reading row i always gives the same row.",
    why="A run that is resumed, a second epoch and the cache of a frozen tower all ask again.",
    needs=("records",),
)
def rows_repeat(it: DatasetSubject) -> None:
    """The same row, record and image, again, in a new data set, and in another order."""
    first = [_read(it.dataset, row) for row in it.rows]
    again = [_read(it.dataset, row) for row in reversed(it.rows)][::-1]
    other = it.make()
    fresh = [_read(other, row) for row in reversed(it.rows)][::-1]
    for what, found in (
        ("a second time", again),
        ("in a new data set of the same settings", fresh),
    ):
        _compare(it, found, first, what)


def _compare(it: DatasetSubject, found: list[Any], right: list[Any], what: str) -> None:
    for row, one, other in zip(it.rows, right, found, strict=True):
        if one[0] != other[0]:
            fault(f"the same record of row {row} {what}", f"{shorten(one[0])}, then"
                  f" {shorten(other[0])}: draw from random.Random of the row's number")  # fmt: skip
        if one[1] != other[1]:
            fault(f"the same image of row {row} {what}", "other pixels")


@rule(
    contract=f"{_DATASET}.record",
    says="IndexError: there is no row ``index``.",
    why="A wrong row that is answered as if it were there trains on the wrong pairs.",
    needs=("opens",),
)
def index_error(it: DatasetSubject) -> None:
    """Beyond the end there is nothing."""
    count = len(it.dataset)
    names = ["record", *(["image"] if it.dataset.has_images else [])]
    if it.dataset.activations is not None:
        names = ["record", "activation"]
    for name in names:
        must_raise(IndexError, getattr(it.dataset, name), count,
                   expected=f"an IndexError from {name}({count}) where len is {count}")  # fmt: skip


@rule(
    contract=f"{_DATASET}.texts",
    says="Every query in order; where there are none, the class name of every labelled image.",
    why="Tokenizers are trained and clusters are found on these texts.",
    needs=("rows_repeat",),
)
def texts(it: DatasetSubject) -> None:
    """The texts of the rows, in order, each time."""
    if len(it.dataset) > _MANY:
        raise NotApplicable(f"more than {_MANY} rows")
    found = call(lambda: list(it.dataset.texts()), expected="texts() to give the texts")
    right: list[str] = []
    for row in range(len(it.dataset)):
        record = it.dataset.record(row)
        labelled = () if record.label is None else (it.dataset.classes[record.label],)
        right += record.queries or labelled
    if found != right:
        fault(f"the {len(right)} texts of the rows, in order", f"{len(found)} texts, or others")


@rule(
    contract=_DATASET,
    says="it must survive ``fork`` and ``pickle``",
    why="Worker processes are given the data set by pickle where the system does not fork.",
    needs=("rows_repeat",),
)
def pickling(it: DatasetSubject) -> None:
    """Pickled and restored, after it was used, it reads the same rows."""
    right = [_read(it.dataset, row) for row in it.rows]
    data = call(pickle.dumps, it.dataset, expected="a data set that can be pickled after it was"
                " used (open files and locks cannot: open them where they are read)")  # fmt: skip
    other = call(pickle.loads, data, expected="a pickled data set that can be restored")
    _compare(it, [_read(other, row) for row in it.rows], right, "after pickle")


@rule(
    contract=_DATASET,
    says="it must survive ``fork`` and ``pickle``",
    why="Worker processes read at the same time. A file that was open before the fork has one"
    " position for all of them: rows would be mixed up.",
    needs=("rows_repeat",),
)
def fork(it: DatasetSubject) -> None:
    """Two forked processes read all rows at the same time, and read them right."""
    if sys.platform != "linux":
        raise NotApplicable("this system does not fork safely")
    right = [_read(it.dataset, row) for row in it.rows]
    for found in _in_two_processes(lambda: [_read(it.dataset, row) for row in it.rows], right):
        if isinstance(found, str):
            fault("to be read in a forked process", found)
        _compare(it, found, right, "in one of two processes that read at the same time")


def _in_two_processes(read: Callable[[], list[Any]], right: list[Any]) -> list[Any]:
    """What each of two children read, or the error of one; several rounds, for a race to show."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2, timeout=60)

    def child(pipe: Any) -> None:
        found: Any = right
        try:
            for _ in range(8):
                together.wait()
                found = read()
                if found != right:
                    break
        except threading.BrokenBarrierError:
            pass  # the other one has found something
        except Exception as error:
            found = describe(error)
        together.abort()
        pipe.send(found)

    pipes = [context.Pipe() for _ in range(2)]
    children = [context.Process(target=child, args=(end,), daemon=True) for _, end in pipes]
    for one in children:
        one.start()
    for _, end in pipes:
        end.close()
    found = []
    for own, _ in pipes:
        try:
            found.append(own.recv() if own.poll(120) else "it did not end within two minutes")
        except EOFError:
            found.append("the process died")
    for one in children:
        one.join(5)
        if one.is_alive():
            one.kill()
    return found


RULES = (
    opens,
    records,
    ids_unique,
    images,
    activations,
    rows_repeat,
    index_error,
    texts,
    pickling,
    fork,
)

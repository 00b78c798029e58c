"""The pickle inside a torch file, read as a description: nothing that it names is ever called.

``torch.load(weights_only=True)`` builds tensors while it reads, with whatever sizes, strides and
lengths the file claims, and ends on hostile bytes in any exception. Here the pickle's instructions
are followed over plain containers, and a tensor stays a :class:`engine.core.weights.claims.Claim`
until its storage has been compared with it. Format: the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any, Protocol, cast

from engine.core.weights.claims import CodeError, Named, Opaque, PickleError, is_known, made

MAX_STEPS = 10_000_000
"""Instructions of a pickle that are followed; a checkpoint of a large model has some 100,000."""


class Bytes(Protocol):
    """What a pickle is read from: a ``BytesIO`` or an ``mmap``.

    Both give at most what they hold, so that a claimed length allocates nothing.
    """

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""

    def readline(self) -> bytes:
        """The rest of a line."""

    def tell(self) -> int:
        """The place of the next byte."""


def read_pickle(file: Bytes, storage: Callable[[tuple[Any, ...]], object] | None = None) -> Any:
    """Follow one pickle to its end; the file then stands behind it.

    Args:
        file: stands at the pickle's beginning.
        storage: makes what a persistent id names; ``None``: there are none.

    Returns:
        ``dict``, ``list``, ``tuple``, strings, numbers, :class:`Claim`, :class:`Opaque`. Keys of a
        ``dict`` are strings, numbers, bytes, ``None`` or :class:`Opaque`.

    Raises:
        CodeError: it names what could run code.
        PickleError: it is damaged.
    """
    try:
        return _Machine(storage).run(file)
    except (PickleError, CodeError):
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise PickleError(f"damaged pickle: {reason[:120]}") from error


class _Machine:
    """The pickle machine: a stack, marks in it, and a memo."""

    def __init__(self, storage: Callable[[tuple[Any, ...]], object] | None) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: Bytes) -> Any:
        steps = 0
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", file)):
            steps += 1
            if steps > MAX_STEPS:
                raise PickleError(f"a pickle of more than {MAX_STEPS:,} instructions")
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _PUSHES:
                self._stack.append(argument)
                continue
            do = _ACTIONS.get(opcode.name)
            if do is None:
                raise PickleError(
                    f"the instruction {opcode.name} does not belong into a checkpoint"
                )
            do(self, argument)
        raise PickleError("the pickle has no end")

    def _since_mark(self) -> list[Any]:
        place = self._marks.pop()
        items = self._stack[place:]
        del self._stack[place:]
        return items

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def pop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._since_mark()

    def dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def skip(self, _: Any) -> None:
        """Protocol and frames: ``genops`` has dealt with them."""

    def put(self, place: Any) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def get(self, place: Any) -> None:
        self._stack.append(self._memo[place])

    def new_list(self, _: Any) -> None:
        self._stack.append([])

    def new_dict(self, _: Any) -> None:
        self._stack.append({})

    def new_set(self, _: Any) -> None:
        self._stack.append(Opaque("a set"))

    def new_bytearray(self, _: Any) -> None:
        self._stack.append(Opaque("a bytearray"))

    def empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def none(self, _: Any) -> None:
        self._stack.append(None)

    def true(self, _: Any) -> None:
        self._stack.append(True)

    def false(self, _: Any) -> None:
        self._stack.append(False)

    def tuple_since_mark(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def list_since_mark(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def dict_since_mark(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set(items)

    def frozenset_since_mark(self, _: Any) -> None:
        self._since_mark()
        self.new_set(None)

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count:
            raise PickleError("damaged pickle: too few values for a tuple")
        self._stack[-count:] = [items]

    def tuple1(self, _: Any) -> None:
        self._tuple(1)

    def tuple2(self, _: Any) -> None:
        self._tuple(2)

    def tuple3(self, _: Any) -> None:
        self._tuple(3)

    def append(self, _: Any) -> None:
        self._append([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._append(self._since_mark())

    def _append(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)
        elif not isinstance(self._stack[-1], Opaque):
            raise PickleError("damaged pickle: items for what is not a list")

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Opaque):
            return
        if not isinstance(target, dict):
            raise PickleError("damaged pickle: items for what is not a mapping")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple of tuples of tuples can exhaust the stack of the process.
            plain = key is None or isinstance(key, (str, bytes, int, float))
            target[key if plain else Opaque("a key")] = value

    def global_(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._name(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("damaged pickle: a name that is not text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if not is_known(full):
            raise CodeError(full)
        self._stack.append(Named(full))

    def reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise PickleError("damaged pickle: a call of what is not a function")
        self._stack.append(made(function.name, arguments))

    def new_object(self, _: Any) -> None:
        self.reduce(None)

    def new_object_ex(self, _: Any) -> None:
        self._stack.pop()
        self.reduce(None)

    def build(self, _: Any) -> None:
        """An object's attributes: never weights."""
        self._stack.pop()
        if not self._stack:
            raise PickleError("damaged pickle: attributes without an object")

    def persistent(self, _: Any) -> None:
        identity = self._stack.pop()
        if self._storage is None or not isinstance(identity, tuple):
            raise PickleError("damaged pickle: a persistent id where none belongs")
        self._stack.append(self._storage(identity))


_PUSHES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup, "PROTO": _Machine.skip, "FRAME": _Machine.skip,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put, "GET": _Machine.get, "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get, "NONE": _Machine.none, "NEWTRUE": _Machine.true,
    "NEWFALSE": _Machine.false, "EMPTY_LIST": _Machine.new_list, "LIST": _Machine.list_since_mark,
    "APPEND": _Machine.append, "APPENDS": _Machine.appends, "EMPTY_TUPLE": _Machine.empty_tuple,
    "TUPLE": _Machine.tuple_since_mark, "TUPLE1": _Machine.tuple1, "TUPLE2": _Machine.tuple2,
    "TUPLE3": _Machine.tuple3, "EMPTY_DICT": _Machine.new_dict, "DICT": _Machine.dict_since_mark,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_items, "EMPTY_SET": _Machine.new_set,
    "ADDITEMS": _Machine.pop_mark, "FROZENSET": _Machine.frozenset_since_mark,
    "BYTEARRAY8": _Machine.new_bytearray, "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global, "REDUCE": _Machine.reduce, "BUILD": _Machine.build,
    "NEWOBJ": _Machine.new_object, "NEWOBJ_EX": _Machine.new_object_ex,
    "BINPERSID": _Machine.persistent,
}  # fmt: skip

"""Mutations: what a file looks like after an accident, or in the hands of someone who means harm.

Everything follows from the random generator that is given, so a case can be repeated by its number.
"""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from random import Random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    -1, 0, 1, 2, 3, 7, 255, 1000, 65_536, 1_000_000, 3_000_000_000, 2**31, 2**53, 2**63, 2**64,
    10**30, 0.5, -0.5, 1e-9, 9e39, 1e308,
)  # fmt: skip
TEXTS = (
    "",
    " ",
    "x",
    "NaN",
    "Infinity",
    "1e999",
    "../../etc/passwd",
    "\x1b[31m",
    "a\nb",
    "\u202e",
    "é",
    "null",
    "hf:nobody/nothing",
    "artifact:.",
    "scratch",
    "\ud83d\ude00",
    "ж" * 3000,
)
VALUES: tuple[Any, ...] = (
    *NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], [1, 2], {"use": "linear"}, {"a": 1},
    [{}] * 100, list(range(1000)),
)  # fmt: skip
_DIGITS = re.compile(rb"-?\d+(\.\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{3,}")


def mutate_bytes(data: bytes, chance: Random) -> bytes:
    """One to four accidents."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(_ACCIDENTS)(data, chance)
    return data


def _flip(data: bytes, chance: Random) -> bytes:
    if not data:
        return b"\x00"
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def _flip_head(data: bytes, chance: Random) -> bytes:
    """Most of what can go wrong stands at the beginning or the end."""
    room = min(len(data), 400)
    return _flip(data[:room], chance) + data[room:]


def _flip_tail(data: bytes, chance: Random) -> bytes:
    room = min(len(data), 400)
    return data[: len(data) - room] + _flip(data[len(data) - room :], chance)


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(data: bytes, chance: Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 4, 64, 4096)) :]


def _insert(data: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    kind = chance.randrange(3)
    count = chance.choice((1, 8, 1000))
    more = bytes(count) if kind == 0 else b"\xff" * count if kind == 1 else chance.randbytes(count)
    return data[:place] + more + data[place:]


def _repeat(data: bytes, chance: Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.choice((4, 64, 1000))]
    return data[:start] + piece * chance.choice((2, 10)) + data[start + len(piece) :]


def _integer(data: bytes, chance: Random) -> bytes:
    """Four or eight bytes become a number at a border."""
    width = chance.choice((2, 4, 8))
    if len(data) < width:
        return data
    place = chance.randrange(len(data) - width + 1)
    number = chance.choice((0, 1, 2**15, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -1, -2))
    order = chance.choice(("little", "big"))
    some = (number % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    return data[:place] + some + data[place + width :]


def _number(data: bytes, chance: Random) -> bytes:
    """A number written in digits becomes another."""
    return _replaced(data, _DIGITS, str(chance.choice(NUMBERS)).encode(), chance)


def _word(data: bytes, chance: Random) -> bytes:
    """A word becomes another word of the file, or something odd."""
    words = _WORD.findall(data[:100_000]) or [b"x"]
    other = chance.choice((*words, *(text.encode("utf-8", "surrogatepass") for text in TEXTS)))
    return _replaced(data, _WORD, other, chance)


def _replaced(data: bytes, pattern: re.Pattern[bytes], by: bytes, chance: Random) -> bytes:
    places = list(pattern.finditer(data[:100_000]))
    if not places:
        return data
    found = chance.choice(places)
    return data[: found.start()] + by + data[found.end() :]


_ACCIDENTS = (
    _flip, _flip, _flip_head, _flip_head, _flip_tail, _cut, _remove, _insert, _repeat, _integer,
    _number, _number, _word,
)  # fmt: skip


def mutate_lines(data: bytes, chance: Random) -> bytes:
    """A text whose lines are removed, repeated, moved, or indented."""
    lines = data.split(b"\n")
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(lines))
        kind = chance.randrange(5)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(chance.randrange(len(lines) + 1), lines[place])
        elif kind == 2:
            lines[place] = b"  " + lines[place]
        elif kind == 3:
            lines[place] = lines[place].removeprefix(b"  ")
        else:
            name, colon, _ = lines[place].partition(b":")
            value = json.dumps(chance.choice(VALUES)).encode()
            lines[place] = name + (colon or b":") + b" " + value
        lines = lines or [b""]
    return b"\n".join(lines)


def _value(chance: Random) -> Any:
    return copy.deepcopy(chance.choice(VALUES))  # what is put in may itself be mutated next


def mutate_json(data: bytes, chance: Random) -> bytes:
    """JSON with other values, of other types, at any place; or with names gone or added."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2))):
        document = _mutate_value(document, chance)
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _mutate_value(value: Any, chance: Random) -> Any:
    if not value or not isinstance(value, (dict, list)) or chance.random() < 0.1:
        return _value(chance)
    key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
    kind = chance.random()
    if kind < 0.1:
        del value[key]
    elif kind < 0.2 and isinstance(value, dict):
        value[chance.choice(TEXTS)] = _value(chance)
    else:
        value[key] = _mutate_value(value[key], chance)
    return value


def mutate_zip(data: bytes, chance: Random) -> bytes:
    """A zip archive whose members are changed, gone, renamed, or packed otherwise."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # it was mutated before
        return mutate_bytes(data, chance)
    place = chance.randrange(len(members))
    if chance.random() < 0.5:  # the pickle is what says most
        place = next((i for i, m in enumerate(members) if m[0].endswith("data.pkl")), place)
    name, content = members[place]
    kind = chance.randrange(6)
    if kind == 0:
        del members[place]
    elif kind == 1:
        members[place] = (name, members[chance.randrange(len(members))][1])
    elif kind == 2:
        members[place] = (members[chance.randrange(len(members))][0], content)
    else:
        members[place] = (name, mutate_bytes(content, chance))
    out = io.BytesIO()
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def mutate_safetensors(data: bytes, chance: Random) -> bytes:
    """Safetensors whose header says something else."""
    length = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + length], chance)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def mutate_tensors(tensors: dict[str, Any], chance: Random) -> None:
    """One tensor of another dtype, shape, content or name; or gone; or one too many."""
    import torch

    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool,
              torch.complex64)  # fmt: skip
    if not tensors:
        return
    name = chance.choice(list(tensors))
    tensor = tensors[name]
    kind = chance.randrange(10)
    if kind == 0:
        tensors[name] = tensor.to(chance.choice(dtypes))
    elif kind == 1:
        tensors[name] = tensor.reshape(-1)
    elif kind == 2:
        tensors[name] = torch.tensor(chance.choice((0.0, 1e30, 1000.0)))
    elif kind == 3:
        tensors[name] = torch.empty([0, *tensor.shape[1:]])
    elif kind == 4:
        tensors[name] = tensor[None] if chance.random() < 0.5 else tensor[..., None]
    elif kind == 5:
        tensors[name] = tensor.repeat(2, *[1] * (tensor.dim() - 1)) if tensor.dim() else tensor
    elif kind == 6 and tensor.numel() and tensor.is_floating_point():
        changed = tensor.clone().reshape(-1)
        changed[-1] = chance.choice((float("nan"), float("inf"), -1e38, 1e38))
        tensors[name] = changed.reshape(tensor.shape)
    elif kind == 7:
        del tensors[name]
    elif kind == 8:
        tensors[chance.choice(list(tensors))] = tensor
    else:
        tensors[chance.choice((name + ".x", "x." + name, *TEXTS[:8]))] = tensor

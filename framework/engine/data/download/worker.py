"""A process that decodes: frames of bytes come in by stdin, results go out by stdout.

In: ``HEAD`` (job, bytes of the body, packing, bytes of the path), path, body. The JPEG is written
to the path, or with an empty path comes back. Out: ``RESULT`` (job, status, width, height, size,
SHA-256, bytes that follow), then a reason or the JPEG.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import warnings
from typing import BinaryIO

from engine.data.download.shrink import UnpackError, shrink, unpack
from engine.errors import BrokenImageError

HEAD = struct.Struct(">QIBH")
RESULT = struct.Struct(">QBIII32sI")
GOOD, BROKEN, NOT_IMAGE, PIXELS, PACKED, DISK = range(6)

_MEMORY = 4 << 30
"""Bytes of address space for a decoder: a bomb ends in an error, not in a dead machine."""


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    warnings.simplefilter("ignore")
    choices = json.loads(sys.argv[1])
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may write among the frames
    try:
        while head := source.read(HEAD.size):
            job, size, packing, length = HEAD.unpack(head)
            path = os.fsdecode(source.read(length))
            body = source.read(size)
            if len(body) < size:
                return
            answer(target, job, path, body, packing, choices)
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def answer(
    target: BinaryIO, job: int, path: str, body: bytes, packing: int, choices: dict[str, int]
) -> None:
    """Decode one body and send what came of it."""
    status, text, width, height, size, digest = GOOD, b"", 0, 0, 0, bytes(32)
    try:
        whole = unpack(body, packing, choices["max_bytes"])
        kept = shrink(whole, choices["size"], choices["quality"], bool(choices["keep_original"]))
        width, height, size = kept.width, kept.height, len(kept.data)
        digest = kept.digest()
        if path:
            write(path, kept.data)
        else:
            text = kept.data
    except UnpackError as error:
        status, text = PACKED, _text(error)
    except BrokenImageError as error:
        status, text = kind_of(error.reason), _text(error.reason)
    except MemoryError:
        status, text = PIXELS, b"it takes too much memory to decode"
    except OSError as error:
        status, text = DISK, _text(error)
    target.write(RESULT.pack(job, status, width, height, size, digest, len(text)) + text)
    target.flush()


def _text(reason: object) -> bytes:
    """A reason as it goes into a frame; it may quote anything that stands in a picture."""
    return str(reason).encode(errors="backslashreplace")[:400]


def kind_of(reason: str) -> int:
    """Sort the reasons of :func:`engine.data.pictures.decode`."""
    if any(
        words in reason for words in ("pixels are too many", "too large", "bomb", "MemoryError")
    ):
        return PIXELS
    strange = ("file is empty", "not a JPEG", "web page")
    return NOT_IMAGE if any(words in reason for words in strange) else BROKEN


def write(path: str, data: bytes) -> None:
    """Write a file of the spool. No temporary name: without its row it counts for nothing."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()

"""A process that reads pictures for another one: ``python -m engine.data.reader_process``.

Its first message is the reader, every other one a slot of the shared memory and the view that is to
stand there. It ends when the pipe does. See :class:`engine.data.readers.ProcessReaders`.
"""

from __future__ import annotations

import mmap
import pickle
import signal
import sys
from multiprocessing.connection import Connection

import numpy as np

from engine.data.views import ViewReader
from engine.errors import EngineError


def main(pipe: Connection, memory: mmap.mmap) -> None:
    """Read what is asked for, until nobody asks."""
    reader: ViewReader = pickle.loads(pipe.recv_bytes())  # from the process that started this one
    side = reader.preprocess.size
    slots = np.frombuffer(memory, np.uint8).reshape(-1, side, side, 3)
    while True:
        slot, index, view = pipe.recv()
        answer: object = None
        try:
            found = reader.read(index, view)
        except EngineError as error:
            answer = (error.message, error.hint)
        else:
            if isinstance(found, str):
                answer = found
            else:
                slots[slot] = found
        pipe.send(answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for training, which ends this
    try:
        main(Connection(int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), 0))
    except (EOFError, OSError):
        sys.exit(0)

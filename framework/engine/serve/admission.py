"""How much work is let in: what would wait too long is refused at once, with a time to come again.

Everything runs in one thread, the event loop's, so nothing is locked.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator

from engine.serve.faults import Fault

_WINDOW = 10.0


class Admission:
    """A bound on something that requests take and give back.

    Args:
        limit: how much of it may be taken at once.
        what: its name, for a refusal.
    """

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what, self.taken = limit, what, 0
        self._done: deque[tuple[float, int]] = deque()

    @contextlib.contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold so much while inside.

        Raises:
            Fault: 429 where it is not there now; 413 where it never is.
        """
        if count > self.limit:
            raise Fault(413, f"{count:,} {self.what} are more than the {self.limit:,} that fit at"
                        " once", "too_large")  # fmt: skip
        if self.taken + count > self.limit:
            raise Fault(429, f"too much is waiting: {self.taken:,} {self.what} of at most"
                        f" {self.limit:,}", "busy", retry=self.wait())  # fmt: skip
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count
            self._done.append((time.monotonic(), count))

    def wait(self) -> int:
        """Seconds in which what is taken now will be done, as fast as the last ones were."""
        now = time.monotonic()
        while self._done and self._done[0][0] < now - _WINDOW:
            self._done.popleft()
        done = sum(count for _, count in self._done)
        if not done:
            return 1
        since = max(now - self._done[0][0], 0.1)
        return max(1, min(60, math.ceil(self.taken * since / done)))

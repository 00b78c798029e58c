"""Every choice about a download. Imports little: worker processes read it too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine.errors import DataError

Format = Literal["files", "webdataset"]

USER_AGENT = "engine-download/1 (image-text research; respects X-Robots-Tag)"

_DAY = 86_400.0
_BOUNDS: dict[str, tuple[float, float]] = {
    "size": (1, 65_500),  # the longest side of a JPEG
    "quality": (1, 100),
    "shard_size": (1, 10_000_000),
    "connections": (1, 65_536),
    "per_host": (1, 65_536),
    "connect_timeout": (0.001, _DAY),
    "timeout": (0.001, _DAY),
    "min_rate": (0, 1 << 40),
    "slow_after": (0.0, _DAY),
    "deadline": (0.001, _DAY),
    "retries": (0, 1000),
    "pause": (0.0, _DAY),
    "max_pause": (0.0, _DAY),
    "max_bytes": (1, 1 << 31),
    "max_redirects": (0, 100),
    "workers": (0, 1024),
}


@dataclass(frozen=True)
class DownloadSettings:
    """How to fetch, and what to make of it.

    Attributes:
        format: ``files`` (``images/<id>.jpg``) or ``webdataset`` (tar shards with parquet tables).
        size: the shorter side in pixels; a smaller picture is never made larger.
        quality: of JPEG, 1 to 100.
        keep_original: keep the bytes as they came, after decoding them whole.
        shard_size: places of the list in one shard.
        connections: requests at once.
        per_host: requests at once to one host; fewer while it says that there are too many.
        connect_timeout: seconds for a connection; finding the name counts into ``timeout``.
        timeout: seconds for one request.
        min_rate: bytes a second below which a body is too slow.
        slow_after: seconds before ``min_rate`` counts.
        deadline: seconds for one image with all its retries and pauses, from its first request.
        retries: further tries of what may pass.
        pause: seconds before the first retry; doubles, and varies by half.
        max_pause: seconds; the longest pause that a host did not ask for. What Retry-After asks for
            is kept up to ``deadline``.
        max_bytes: of a body, also once unpacked.
        max_redirects: of one image.
        workers: processes that decode; 0: one a core.
        user_agent: as servers see it.
        allow_private: connect to private, loopback and link-local addresses too.
        verify_tls: refuse certificates that do not hold.
        robots_tag: leave out what forbids such use by the header X-Robots-Tag.
        proxy: use the proxies that the environment names (they resolve names, so
            addresses cannot be checked; needs ``allow_private``).
    """

    format: Format = "files"
    size: int = 256
    quality: int = 90
    keep_original: bool = False
    shard_size: int = 10_000
    connections: int = 128
    per_host: int = 8
    connect_timeout: float = 10.0
    timeout: float = 30.0
    min_rate: int = 4_000
    slow_after: float = 5.0
    deadline: float = 90.0
    retries: int = 2
    pause: float = 1.0
    max_pause: float = 30.0
    max_bytes: int = 30_000_000
    max_redirects: int = 5
    workers: int = 0
    user_agent: str = USER_AGENT
    allow_private: bool = False
    verify_tls: bool = True
    robots_tag: bool = True
    proxy: bool = False

    def __post_init__(self) -> None:
        for name, (minimum, maximum) in _BOUNDS.items():
            value = getattr(self, name)
            if not minimum <= value <= maximum:  # which NaN is not, either
                raise DataError(
                    f"download: `{name}` is {value}, and must be from {minimum:,} to {maximum:,}"
                )
        if self.format not in ("files", "webdataset"):
            raise DataError(f"download: no format `{self.format}`; files or webdataset")
        agent = self.user_agent
        if not agent.isprintable() or not agent.isascii() or len(agent) > 1000:
            raise DataError("download: the user agent must be plain ASCII on one line")
        if self.proxy and not self.allow_private:
            raise DataError(
                "download: behind a proxy it cannot be checked where a connection leads",
                hint="give --allow-private too, if the proxy itself keeps private addresses away",
            )

    def shaping(self) -> dict[str, Any]:
        """The choices that a download must keep from its beginning to its end."""
        kept = {"format", "size", "quality", "keep_original", "shard_size"}
        return {key: value for key, value in asdict(self).items() if key in kept}

"""The service as a process: it starts, says where it listens, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from engine.errors import DataError
from engine.serve.app import GUARD, make_app
from engine.serve.guard import write_log
from engine.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.evaluate.predictor import Predictor
    from engine.search.index import SearchIndex


def serve(
    predictor: Predictor,
    index: SearchIndex | None,
    settings: ServeSettings,
    listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; every request that was accepted is answered.

    Args:
        predictor: the model.
        index: pictures to be searched.
        settings: limits and addresses.
        listening: called with the service's URL once it takes requests.

    Raises:
        DataError: the address cannot be used.
    """
    asyncio.run(_serve(predictor, index, settings, listening))


async def _serve(
    predictor: Predictor,
    index: SearchIndex | None,
    settings: ServeSettings,
    listening: Callable[[str], None],
) -> None:
    app = make_app(predictor, index, settings)
    quiet = logging.getLogger("engine.serve.http")  # it would log what clients send, as tracebacks
    quiet.propagate, quiet.disabled = False, True
    runner = web.AppRunner(
        app, access_log=None, logger=quiet, handle_signals=False,
        keepalive_timeout=settings.idle_seconds, shutdown_timeout=settings.grace,
        handler_cancellation=True,
    )  # fmt: skip
    await runner.setup()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        if hasattr(signal, name):
            loop.add_signal_handler(getattr(signal, name), ended.set)
    reaper = loop.create_task(_reap(runner, settings.idle_seconds))
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise DataError(
                f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}",
                hint="choose another --port (0: any free one) or --host",
            ) from error
        url = _url(runner, settings)
        write_log(event="listening", url=url)
        listening(url)
        await ended.wait()
        write_log(event="ending")
        app[GUARD].ending = True
    finally:
        reaper.cancel()
        await runner.cleanup()
    write_log(event="ended")


def _url(runner: web.AppRunner, settings: ServeSettings) -> str:
    host, port = runner.addresses[0][:2]
    shown = f"[{host}]" if ":" in str(host) else host
    return f"http://{shown}:{port}"


async def _reap(runner: web.AppRunner, seconds: float) -> None:
    """Close connections on which nothing whole arrives: senders that never finish their heads."""
    idle: dict[Any, float] = {}
    while True:
        await asyncio.sleep(min(1.0, seconds / 4))
        server, now = runner.server, time.monotonic()
        connections = set() if server is None else set(server.connections)
        idle = {each: since for each, since in idle.items() if each in connections}
        for connection in connections:
            if getattr(connection, "_current_request", None) is not None:
                idle.pop(connection, None)
            elif now - idle.setdefault(connection, now) > seconds:
                with contextlib.suppress(Exception):
                    connection.force_close()

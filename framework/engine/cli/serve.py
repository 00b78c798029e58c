"""``engine serve``: a model over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.predict import BackendOption


def command(
    model: Annotated[Path, typer.Argument(help="An artifact, a training run, or an ONNX export.")],
    index: Annotated[
        Path | None, typer.Option(help="An index that `engine index` made with this model.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    api_keys: Annotated[
        Path | None,
        typer.Option("--api-keys", metavar="FILE", help="Keys, one a line; one must be given."),
    ] = None,
    origins: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="ORIGIN", help="Pages of this origin may call too."),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="The service may be called by this name."
        ),
    ] = None,
    fetch_urls: Annotated[
        bool, typer.Option("--fetch-urls", help="Pictures may be given as public URLs.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model's arithmetic (one a core).")
    ] = None,
    decoders: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode pictures (cores less one).")
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Texts and pictures that may wait; then 429.")
    ] = 1024,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds for a request.")] = 30.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "cpu",
    backend: BackendOption = None,
) -> None:
    """Serve embeddings (OpenAI's shape), classes, search and a page.

    SIGTERM and Ctrl-C end it when the accepted requests are answered. /openapi.json describes it.
    """
    from engine.cli.predict import open_predictor
    from engine.cli.tables import print_warning
    from engine.evaluate.images import available_cores
    from engine.search.index import SearchIndex
    from engine.serve.running import serve
    from engine.serve.settings import ServeSettings

    keys = read_keys(api_keys)
    if host not in ("127.0.0.1", "::1", "localhost") and not keys:
        print_warning(f"the service listens on {host} and asks for no key: whoever reaches it may"
                      " use it (--api-keys FILE)")  # fmt: skip
    settings = ServeSettings(
        host=host, port=port, api_keys=tuple(keys), origins=tuple(origins or ()),
        hosts=tuple(hosts or ()), fetch_urls=fetch_urls, queue=queue, deadline=deadline,
        decoders=decoders or max(1, available_cores() - 1),
    )  # fmt: skip
    opened = SearchIndex(index) if index else None
    predictor = open_predictor(model, threads, backend).to(device)
    for warning in predictor.warnings:
        print_warning(warning)
    serve(predictor, opened, settings, lambda url: typer.echo(f"{predictor.config.name}: {url}"))


def read_keys(path: Path | None) -> list[str]:
    """The keys in a file, one a line; empty lines and those that begin with # are passed over.

    Raises:
        DataError: it cannot be read, has no key, or one of fewer than 16 characters.
    """
    from engine.core.regular_file import read_regular
    from engine.errors import DataError

    if path is None:
        return []
    try:
        text = read_regular(path, 1 << 20).decode()
    except FileNotFoundError as error:
        raise DataError(f"--api-keys {path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--api-keys {path} cannot be read: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise DataError(f"--api-keys {path} has no key")
    if min(map(len, keys)) < 16 or not all(key.isascii() and " " not in key for key in keys):
        raise DataError(f"--api-keys {path}: a key has at least 16 characters of ASCII, no blank",
                        hint="openssl rand -base64 32 prints a good one")  # fmt: skip
    return keys

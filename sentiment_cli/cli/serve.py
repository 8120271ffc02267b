"""`sentiment serve`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from sentiment_cli import console, extras
from sentiment_cli.errors import UsageError

if TYPE_CHECKING:
    from sentiment_cli.serving.server import Server


def serve(
    run: Annotated[
        str | None,
        Argument(
            help="Run directory or name, or a packed model; without one, the newest finished run, or else `pocket`."
        ),
    ] = None,
    host: Annotated[
        str, Option(help="Address to listen on; other than this machine's own it needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, Option(metavar="FILE", help="File of the token that clients must send, 16 characters or more.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, Option(metavar="NAME", help="Name that clients may call the server by; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        Option(metavar="URL", help="Site whose pages may ask, such as https://example.org; repeatable."),
    ] = None,
    queue: Annotated[int, Option(min=1, max=4096, help="Requests that may wait for the model.")] = 64,
    most_texts: Annotated[int, Option(min=1, max=1024, help="Texts of a request, and read at once.")] = 64,
    most_bytes: Annotated[int, Option(min=1024, max=1 << 28, help="Bytes of a request's body.")] = 1_000_000,
    page: Annotated[bool, Option("--page/--no-page", help="Answer / with a page to try the model on.")] = True,
    as_json: Annotated[bool, Option("--json", help="Print a JSON object per event and request.")] = False,
) -> None:
    """Answer over HTTP with a trained model, and show a page.

    Prints the address once the model is ready. SIGHUP loads the model anew; SIGTERM finishes what is being answered.

    \b
    Examples:
      sentiment serve
      sentiment serve imdb-lstm --port 9000 --json
      sentiment serve imdb-lstm --host 0.0.0.0 --token-file token.txt
    """
    from sentiment_cli.serving.settings import HOW_TO_MAKE_A_TOKEN, Settings, is_loopback, read_token

    given = {"--token-file": token_file and [token_file], "--allow-host": allow_host, "--allow-origin": allow_origin}
    options = [str(word) for option, values in given.items() for value in values or () for word in (option, value)]
    words = ["sentiment", "serve", *([] if run is None else [run]), *options]
    words += ["--host", host] if host != "127.0.0.1" else []
    if token_file is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} lets other machines in, so clients must have a token: --token-file FILE",
            f"({HOW_TO_MAKE_A_TOKEN}); {shlex.join([*words, '--port', str(port)])} --token-file sentiment-token.txt",
        )
    settings = Settings(
        host=host,
        port=port,
        token=None if token_file is None else read_token(token_file),
        allowed_hosts=frozenset(name.lower() for name in allow_host or ()),
        allowed_origins=frozenset(_origin(one) for one in allow_origin or ()),
        has_page=page,
        logs_requests=as_json,
        queue=queue,
        most_texts=most_texts,
        most_bytes=most_bytes,
        words=tuple(words),
    )
    extras.require("serve", "sentiment serve")
    from sentiment_cli.runs.directory import find_run

    path = find_run(run, or_bundled=True)
    import asyncio

    from sentiment_cli.serving.model import open_served
    from sentiment_cli.serving.server import Server

    code = asyncio.run(Server(settings, open_served(path)).run(lambda server: _say_where(server, as_json)))
    if code:
        raise typer.Exit(code)


def _say_where(server: "Server", as_json: bool) -> None:
    served = server.holder.served
    if as_json:
        said = {"event": "listening", "url": server.url, "run": served.name, "model": served.sha256}
        console.result(json.dumps(said))
    else:
        console.result(server.url)
    console.say("Ctrl-C stops the server")


def _origin(url: str) -> str:
    """Return a site as browsers send it."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url.lower())
    except ValueError:  # a broken IPv6 address
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/") or parts.query:
        raise UsageError(f"--allow-origin {url} is no site such as https://example.org", "sentiment serve --help")
    return f"{parts.scheme}://{parts.netloc}"

"""What a server is started with: its address, who may use it, and its limits."""

from dataclasses import dataclass
from pathlib import Path

from sentiment_cli.errors import DataError, UsageError

_SHORTEST_TOKEN = 16
_LARGEST_TOKEN_FILE = 4096
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Settings:
    """The settings of a server. Sizes are in bytes and times, `_s`, in seconds.

    `queue` counts requests that wait for the model, `most_texts` the texts of a request and of a batch. `receive_s` is
    from a request's first byte, or the connection, to its last; of a streamed body it is for each line. `send_s` is how
    long a client may leave an answer unread, `answer_s` how long a request may wait for the model, `drain_s` how long
    requests have after SIGTERM. `words` are the command that was typed, without its port.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    has_page: bool = True
    logs_requests: bool = False
    queue: int = 64
    most_texts: int = 64
    most_bytes: int = 1_000_000
    text_bytes: int = 100_000
    header_bytes: int = 16_384
    connections: int = 512
    streams: int = 8
    receive_s: float = 10.0
    send_s: float = 10.0
    answer_s: float = 30.0
    keep_alive_s: float = 75.0  # longer than the 60 s for which proxies keep a connection
    drain_s: float = 10.0
    words: tuple[str, ...] = ("sentiment", "serve")


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a server that listens there."""
    return host in LOOPBACK


def read_token(path: Path) -> str:
    """Read the token that clients must send: one line of 16 or more printable ASCII characters without spaces."""
    try:
        with path.open("rb") as handle:
            data = handle.read(_LARGEST_TOKEN_FILE + 1)
    except OSError as error:
        raise DataError(f"--token-file {path} cannot be read: {error.strerror}", HOW_TO_MAKE_A_TOKEN) from error
    token = data.strip().decode("ascii", "replace")
    is_one_word = token.isascii() and token.isprintable() and " " not in token
    if len(data) > _LARGEST_TOKEN_FILE or not is_one_word or len(token) < _SHORTEST_TOKEN:
        raise UsageError(
            f"--token-file {path} does not hold one line of {_SHORTEST_TOKEN} or more ASCII characters without spaces",
            HOW_TO_MAKE_A_TOKEN,
        )
    return token


HOW_TO_MAKE_A_TOKEN = "umask 077; set -C; head -c 24 /dev/urandom | base64 > sentiment-token.txt"

"""A worker process of batch prediction: texts come on standard input and answers go to standard output, as JSON.

    python -m sentiment_cli.inference.batch.worker RUN

The first message is the identity of the model. Each later one answers a message of texts, or says what is wrong.
"""

import os
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import IO, Any

from sentiment_cli import console
from sentiment_cli.errors import SentimentError
from sentiment_cli.inference.batch.answers import json_bytes, packed
from sentiment_cli.storage import failpoints, store

_LENGTH = struct.Struct(">Q")


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message: its length in bytes, then its JSON."""
    data = json_bytes(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Return the next message. Raises EOFError where the other process has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (n_bytes,) = _LENGTH.unpack(head)
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError
    return store.parse_json(data, Path("pipe"))


def reply_of(error: Exception) -> dict[str, Any]:
    """Return what went wrong as a message, which `pool.error_of` turns into an error again."""
    if isinstance(error, SentimentError):
        return {"error": str(error), "hint": error.hint, "code": error.exit_code}
    if isinstance(error, MemoryError):
        return {"error": f"there is not enough memory: {error}", "hint": "sentiment doctor", "code": 4}
    return {"error": "".join(traceback.format_exception(error)), "hint": None, "code": 1}


def main() -> None:
    """Answer until standard input ends, which it also does when the process at its other end dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may come between the messages
    texts = sys.stdin.buffer
    console.mute()
    try:
        from sentiment_cli.inference.predictor import open_predictor

        predictor = open_predictor(Path(sys.argv[1]), n_threads=1)
        send(answers, {"model": predictor.model.files.sha256})
        while True:
            asked = receive(texts)
            failpoints.reach("worker")
            send(answers, {"answers": packed(predictor.predict(asked["texts"]))})
    except EOFError:
        return
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        send(answers, reply_of(error))


if __name__ == "__main__":
    main()

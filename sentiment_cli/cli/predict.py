"""`sentiment predict`."""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from typer import Argument, Option

from sentiment_cli import console, store
from sentiment_cli.cli.explain import Method, Wishes, answer_with_reasons
from sentiment_cli.errors import DataError, UsageError

_TEXTS_AT_ONCE = 512
_HINT = 'sentiment predict "I just really loved the movie"'


def predict(
    text: Annotated[list[str] | None, Argument(help="Texts to judge; without any, lines of standard input.")] = None,
    run: Annotated[str | None, Option(help="Run directory or name; without one, the newest finished run.")] = None,
    file: Annotated[str | None, Option(help="Read one text per line from a file, or - for standard input.")] = None,
    out: Annotated[Path | None, Option(help="Write the answers to a file instead of standard output.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object per text.")] = False,
    explain: Annotated[bool, Option("--explain", help="Say what each word adds to the answer.")] = False,
    method: Annotated[Method, Option(help="How to find that out.")] = Method.auto,
    trace: Annotated[bool, Option("--trace", help="Say what the model would answer after each word.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write either, or both, as a page, too.")] = None,
) -> None:
    """Say for each text whether it is positive, and how surely: label, probability (or stars), text.

    \b
    Examples:
      sentiment predict "I just really loved the movie"
      sentiment predict --file reviews.txt --json
      sentiment predict "I just really loved the movie" --explain --trace --html why.html
    """
    from sentiment_cli.inference.runs import find_run

    texts = _texts(text or [], file)
    path = find_run(run)
    from sentiment_cli.inference.predictor import Prediction, open_predictor

    def plain_line(prediction: Prediction) -> str:
        one_line = " ".join(prediction.text.split())
        figure = f"{prediction.probability:.4f}" if prediction.stars is None else f"{prediction.stars:.1f} stars"
        return f"{prediction.label}\t{figure}\t{console.sanitize(one_line)}"

    def line_of(prediction: Prediction) -> str:
        return json.dumps(prediction.to_json()) if as_json else plain_line(prediction)

    predictor = open_predictor(path)
    wishes = Wishes(explain, method, trace, html, as_json)
    if wishes.is_any:
        answer_with_reasons(predictor, _chunks(texts), wishes, plain_line, out)
        return
    lines = (line_of(answer) for chunk in _chunks(texts) for answer in predictor.predict(chunk))
    if out is None:
        for line in lines:
            console.result(line)
        return
    with store.replacing(out) as handle:
        handle.writelines(f"{line}\n".encode() for line in lines)


def _texts(texts: list[str], file: str | None) -> Iterable[str]:
    if texts and file is not None:
        raise UsageError("TEXT and --file are both given; one of them is enough", _HINT)
    for i, one in enumerate(texts, 1):
        if not one.strip():
            raise UsageError(f"text {i} is empty" if len(texts) > 1 else "the text is empty", _HINT)
    if texts:
        # Bytes of an argument that are not UTF-8 arrive as lone surrogates.
        return [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in texts]
    if file not in (None, "-"):
        try:
            return _lines(Path(file or "").open("rb"))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}", _HINT) from error
    if sys.stdin is None or (file is None and sys.stdin.isatty()):
        raise UsageError("there is no text", _HINT)
    return _lines(sys.stdin.buffer)


def _lines(handle: BinaryIO) -> Iterator[str]:
    with handle:
        for line in handle:
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while chunk := list(itertools.islice(iterator, _TEXTS_AT_ONCE)):
        yield chunk

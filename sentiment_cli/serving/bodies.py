"""What clients send: texts in JSON, read strictly, with refusals that repeat nothing of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from sentiment_cli.data.tables.writers import well_formed
from sentiment_cli.serving.batcher import Failed
from sentiment_cli.serving.settings import Settings


class Refusal(Exception):  # noqa: N818 - an answer like others
    """A request that is refused: status, a sentence for the client, what it is counted as, and more headers."""

    def __init__(self, status: int, message: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.headers = status, message, reason, dict(headers or {})


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8. Refuses NaN, infinities, repeated keys, and nesting that Python's parser does not take."""
    try:
        return json.loads(data.decode(), parse_constant=_no_constant, object_pairs_hook=_object)
    except Refusal:
        raise
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8", "json") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply", "json") from None
    except ValueError:  # JSONDecodeError, and whole numbers of thousands of digits
        raise Refusal(400, "the body is not valid JSON", "json") from None


def _no_constant(name: str) -> NoReturn:
    raise Refusal(400, "NaN and Infinity are not JSON", "json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal(400, "a key stands twice in an object", "json")
    return found


def read_request(body: Any, settings: Settings) -> tuple[list[str | Failed], bool]:
    """Return the texts of a request, a bad one of several as Failed, and whether it is one `text`."""
    if not isinstance(body, dict) or body.keys() not in ({"text"}, {"texts"}):
        raise Refusal(400, 'the body must be {"text": "…"} or {"texts": ["…", …]}', "shape")
    if "text" in body:
        text = read_text(body["text"], settings)
        if isinstance(text, Failed):
            is_long = isinstance(body["text"], str)
            raise Refusal(413 if is_long else 400, str(text), "text")
        return [text], True
    texts = body["texts"]
    if not isinstance(texts, list) or not 1 <= len(texts) <= settings.most_texts:
        raise Refusal(400, f"texts must be a list of 1 to {settings.most_texts} texts", "shape")
    return [read_text(text, settings) for text in texts], False


def read_line(line: bytes, settings: Settings) -> str | Failed:
    """Return the text of a line of JSON Lines, or why it has none."""
    try:
        found = parse_json(line)
    except Refusal as refusal:
        return Failed(refusal.message.replace("the body", "the line"))
    if not isinstance(found, dict) or "text" not in found:
        return Failed('a line must be {"text": "…"}')
    return read_text(found["text"], settings)


def read_text(value: Any, settings: Settings) -> str | Failed:
    """Return a text; half a surrogate pair, which JSON can spell and UTF-8 cannot, as U+FFFD."""
    if not isinstance(value, str):
        return Failed("a text must be a string")
    text = well_formed(value)
    if len(text) > settings.text_bytes or len(text.encode()) > settings.text_bytes:
        return Failed(f"a text may have at most {settings.text_bytes:,} bytes")
    return text


def read_switches(query: bytes, names: Sequence[str]) -> dict[str, bool]:
    """Return which of these parameters of a query are true. Refuses others, and other values."""
    found = dict.fromkeys(names, False)
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError:  # which UnicodeDecodeError is, too
        raise Refusal(400, "the query cannot be read", "query") from None
    for name, value in pairs:
        if name not in found or value not in ("true", "false"):
            raise Refusal(400, f"the query may hold {' and '.join(names)}, each true or false", "query")
        found[name] = value == "true"
    return found

"""The page at /: a form that works without scripts, and one script that answers while one types."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from sentiment_cli.inference.browser.layout import content_policy, listed, page, read_part
from sentiment_cli.inference.explain.html import page_part
from sentiment_cli.inference.predictor import Prediction
from sentiment_cli.serving.batcher import Failed
from sentiment_cli.serving.bodies import Refusal, read_text
from sentiment_cli.serving.gate import header
from sentiment_cli.serving.model import Served
from sentiment_cli.serving.settings import Settings

_STYLE = read_part("page.css")
_SCRIPT = read_part("page.js") + (Path(__file__).parent / "remote.js").read_text("utf-8")
CONTENT_POLICY = content_policy(_STYLE, _SCRIPT, connects="'self'", forms="'self'") + "; frame-ancestors 'none'"
_FORM = b"application/x-www-form-urlencoded"


def render_page(
    served: Served,
    settings: Settings,
    text: str,
    answered: tuple[Prediction | Failed, dict[str, Any]] | None,
    problem: str | None,
) -> str:
    """Return the page, with the answer to a text that its form sent, or why there is none."""
    card, answer = served.card(), []
    if answered is not None:
        found, more = answered
        if isinstance(found, Failed):
            problem = str(found)
        else:
            answer.append(page_part(found, more.get("explanation", []), more.get("trace")))
    return page(
        title="sentiment",
        about=f"The model {card['run']} classifies texts as {listed(served.labels)}.",
        facts=facts_of(card),
        style=_STYLE,
        script=_SCRIPT,
        text=text,
        answer=answer,
        problem="" if problem is None else f"No answer: {problem}.",
    )


def facts_of(card: dict[str, Any]) -> dict[str, str]:
    """Return what the foot of the page says of the model."""
    kind = str(card["kind"])
    if card["encoder"]:
        encoder = card["encoder"]
        ways = "both directions" if encoder["bidirectional"] else "one direction"
        kind = f"{encoder['cell']}, {encoder['layers']} × {encoder['width']}, {ways}"
    reads = "whole texts" if card["max_tokens"] is None else f"up to {card['max_tokens']:,} tokens"
    return {
        "model": kind,
        "knows": f"{card['vocabulary']:,} entries",
        "reads": reads,
        "sha256": str(card["model"]),
        "sentiment": str(card["sentiment"]),
    }


def read_form(scope: dict[str, Any], body: bytes, settings: Settings) -> str:
    """Return the text that the page's form sent."""
    kind = (header(scope, b"content-type") or b"").lower().partition(b";")[0].strip()
    if kind != _FORM:
        raise Refusal(415, f"the Content-Type must be {_FORM.decode()}", "type")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=4)
    except ValueError:
        raise Refusal(400, "the form cannot be read", "shape") from None
    texts = [value for name, value in pairs if name == "text"]
    if len(texts) != 1:
        raise Refusal(400, "the form has no text", "shape")
    text = read_text(texts[0].replace("\r\n", "\n"), settings)
    if isinstance(text, Failed):
        raise Refusal(413, str(text), "text")
    return text
